// JOSE by a library that knows nothing of ours, for the key-service's tests. Reads a JSON array of jobs, writes one of
// answers. A job:
//   {do: "generate", alg, crv?}                                   {public, private}: JWKs
//   {do: "encrypt", alg, enc, key, plaintext, header?, apu?, apv?}    {token}
//   {do: "decrypt", key, token}                                   {header, plaintext}, or {error}
// A key is a JWK, or {secret}: what a client shares with us.

import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';
import * as jose from 'jose';

const jobs = {
  async generate({ alg, crv }) {
    const pair = await jose.generateKeyPair(alg, { crv, extractable: true });
    return { public: await jose.exportJWK(pair.publicKey), private: await jose.exportJWK(pair.privateKey) };
  },

  async encrypt({ alg, enc, key, plaintext, header, apu, apv }) {
    const encrypt = new jose.CompactEncrypt(new TextEncoder().encode(plaintext));
    encrypt.setProtectedHeader({ alg, enc, ...header });
    if (apu) {
      const octets = (party) => new TextEncoder().encode(party);
      encrypt.setKeyManagementParameters({ apu: octets(apu), apv: octets(apv) });
    }
    const options = { crit: Object.fromEntries((header?.crit ?? []).map((name) => [name, true])) };
    return { token: await encrypt.encrypt(await imported(key, alg, enc), options) };
  },

  async decrypt({ key, token }) {
    try {
      const { alg, enc } = jose.decodeProtectedHeader(token);
      const { plaintext, protectedHeader } = await jose.compactDecrypt(token, await imported(key, alg, enc));
      return { header: protectedHeader, plaintext: new TextDecoder().decode(plaintext) };
    } catch (error) {
      return { error: String(error) };
    }
  },
};

async function imported(key, alg, enc) {
  return 'secret' in key ? ofSecret(key.secret, alg, enc) : jose.importJWK(key, alg);
}

/** OpenID Connect Core §10.2. */
function ofSecret(secret, alg, enc) {
  const sized = alg === 'dir' ? enc.replace(/^.*HS/, '').replace(/^A/, '') : alg.slice(1);
  const bits = parseInt(sized, 10);
  const hash = bits <= 256 ? 'sha256' : bits <= 384 ? 'sha384' : 'sha512';
  return createHash(hash).update(secret).digest().subarray(0, bits / 8);
}

const answers = [];
for (const job of JSON.parse(await text(process.stdin))) answers.push(await jobs[job.do](job));
process.stdout.write(JSON.stringify(answers));
