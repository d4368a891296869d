// A relying party on openid-client: the second foreign one, with response modes query and form_post.

import { webcrypto } from 'node:crypto';
import { createServer } from 'node:http';
import * as oidc from 'openid-client';

// Node 18 (Debian 12) has them, but not as globals, where openid-client looks when it is called.
globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;

const escape = (text) =>
  String(text).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

const page = (body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>openid-client</title>${body}`;

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Serves on loopback; resolves with its URL and a function that ends it. */
export async function start({ issuer, id, secret, redirect_uri }) {
  const config = await oidc.discovery(
    new URL(issuer),
    id,
    { id_token_signed_response_alg: 'ES256' },
    oidc.ClientSecretBasic(secret),
    // Without it openid-client trusts TLS and leaves the signature of the ID token alone.
    { execute: [oidc.enableNonRepudiationChecks] },
  );
  const own = new URL(redirect_uri);
  const pending = new Map();
  let login;

  async function begin(mode) {
    const verifier = oidc.randomPKCECodeVerifier();
    const state = oidc.randomState();
    const nonce = oidc.randomNonce();
    // Kept by state: a cookie of ours would not come with the cross-site POST of form_post.
    pending.set(state, { verifier, nonce });
    return oidc.buildAuthorizationUrl(config, {
      redirect_uri,
      scope: 'openid profile email',
      state,
      nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...(mode && { response_mode: mode }),
    });
  }

  async function finish(request, url) {
    let response = url;
    let parameters = url.searchParams;
    if (request.method === 'POST') {
      const body = await read(request);
      parameters = new URLSearchParams(body.toString());
      response = new Request(url, {
        method: 'POST',
        headers: { 'content-type': request.headers['content-type'] },
        body,
      });
    }
    const state = parameters.get('state');
    const expected = pending.get(state);
    if (!expected) throw new Error('the state is not ours');
    pending.delete(state);
    const tokens = await oidc.authorizationCodeGrant(config, response, {
      pkceCodeVerifier: expected.verifier,
      expectedNonce: expected.nonce,
      expectedState: state,
      idTokenExpected: true,
    });
    const claims = tokens.claims();
    const user = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub);
    const header = JSON.parse(Buffer.from(tokens.id_token.split('.')[0], 'base64url'));
    login = { claims, user, header, id_token: tokens.id_token };
  }

  async function answer(request, response) {
    const url = new URL(request.url, own.origin);
    const redirect = (to) => response.writeHead(303, { location: String(to) }).end();
    switch (url.pathname) {
      case '/login':
        return redirect(await begin(url.searchParams.get('response_mode')));
      case own.pathname:
        await finish(request, url);
        return redirect('/');
      case '/logout': {
        const hint = login?.id_token;
        login = undefined;
        return redirect(
          oidc.buildEndSessionUrl(config, { id_token_hint: hint, post_logout_redirect_uri: `${own.origin}/` }),
        );
      }
      case '/': {
        const row = ([name, value]) =>
          `<tr><th>${escape(name)}<td data-claim="${escape(name)}">${escape(JSON.stringify(value))}`;
        const state = login
          ? `<p id="subject">${escape(login.claims.sub)}</p><p id="kid">${escape(login.header.kid)}</p>
             <p id="alg">${escape(login.header.alg)}</p>
             <table id="userinfo">${Object.entries(login.user).map(row).join('')}</table>
             <a id="sign-out" href="/logout">Sign out</a>`
          : '';
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
        return response.end(
          page(`<a id="sign-in" href="/login">Sign in with Signet</a>
                <a id="sign-in-form-post" href="/login?response_mode=form_post">by form_post</a>${state}`),
        );
      }
      default:
        return response.writeHead(404).end();
    }
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      response.writeHead(502, { 'content-type': 'text/html; charset=utf-8' });
      response.end(page(`<p id="failure">${escape(error.code ?? '')} ${escape(error.message)} ${escape(error.error ?? '')}`));
    });
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(own.port, own.hostname, resolve));
  return { url: `${own.origin}/`, end: () => server.close() };
}
