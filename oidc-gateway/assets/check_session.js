// OpenID Connect Session Management 1.0 §3.2: a relying party's page sends "client_id session_state"; the answer is
// "unchanged", "changed" or "error". It compares hashes and tells nothing else, to whatever page asks.
"use strict";

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
  crypto.subtle.digest("SHA-256", new TextEncoder().encode(input)).then(
    function (digest) {
      var hash = btoa(String.fromCharCode.apply(null, new Uint8Array(digest)))
        .replace(/\+/g, "-")
        .replace(/\//g, "_")
        .replace(/=/g, "");
      answer(hash + "." + asked[3] === asked[2] ? "unchanged" : "changed");
    },
    function () {
      answer("error");
    }
  );
});
