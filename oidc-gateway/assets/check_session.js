// OpenID Connect Session Management 1.0 §3.2: a relying party's page sends "client_id session_state"; the answer is
// "unchanged", "changed" or "error". It compares hashes and tells nothing else, to whatever page asks.
"use strict";

// FIPS 180-4 §6.2, where a browser keeps SubtleCrypto from this page. Nothing that is hashed is a secret.
function sha256(text) {
  function fraction(root) {
    return ((root - Math.floor(root)) * 0x100000000) | 0;
  }
  function turned(word, by) {
    return (word >>> by) | (word << (32 - by));
  }
  var primes = [];
  for (var n = 2; primes.length < 64; n += 1) {
    if (primes.every((prime) => n % prime)) {
      primes.push(n);
    }
  }
  var constants = primes.map((prime) => fraction(Math.pow(prime, 1 / 3)));
  var hash = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  var octets = Array.from(new TextEncoder().encode(text));
  var bits = octets.length * 8;
  octets.push(0x80);
  while (octets.length % 64 !== 56) {
    octets.push(0);
  }
  octets.push(0, 0, 0, 0, bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255);
  for (var at = 0; at < octets.length; at += 64) {
    var words = [];
    var [a, b, c, d, e, f, g, h] = hash;
    for (var i = 0; i < 64; i += 1) {
      if (i < 16) {
        words[i] = octets.slice(at + 4 * i, at + 4 * i + 4).reduce((word, octet) => (word << 8) | octet, 0);
      } else {
        var x = words[i - 15];
        var y = words[i - 2];
        var small0 = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
        var small1 = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
        words[i] = (words[i - 16] + small0 + words[i - 7] + small1) | 0;
      }
      var large1 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      var one = (h + large1 + ((e & f) ^ (~e & g)) + constants[i] + words[i]) | 0;
      var large0 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      var two = (large0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    hash = [a, b, c, d, e, f, g, h].map((word, index) => (word + hash[index]) | 0);
  }
  return hash.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}

window.addEventListener("message", function (event) {
  function answer(word) {
    event.source.postMessage(word, event.origin);
  }
  // An opaque origin cannot be answered, nor can it have a session state.
  if (!event.source || event.source === window || event.origin === "null") {
    return;
  }
  var asked = /^([\x21-\x7e]+) ([\w-]+\.([\w-]+))$/.exec(event.data);
  if (!asked) {
    answer("error");
    return;
  }
  var state = /(?:^|; )(?:__Host-)?signet-state=([\w-]+)/.exec(document.cookie);
  if (!state) {
    answer("changed");
    return;
  }
  var input = [asked[1], event.origin, state[1], asked[3]].join(" ");
  function compare(digest) {
    var hash = btoa(String.fromCharCode.apply(null, digest))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=/g, "");
    answer(hash + "." + asked[3] === asked[2] ? "unchanged" : "changed");
  }
  if (!window.crypto || !crypto.subtle) {
    compare(sha256(input));
    return;
  }
  crypto.subtle.digest("SHA-256", new TextEncoder().encode(input)).then(
    (digest) => compare(new Uint8Array(digest)),
    () => compare(sha256(input))
  );
});
