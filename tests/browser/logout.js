// Session management and front-channel logout in a real browser: pages of two relying parties with frames of the
// provider in them, and the other way round. Takes one argument, a JSON object:
//   relying_parties  two of {id, origin}; their pages have a function `ask` and an element `answer`
//   issuer, username, password, screenshots (a folder)

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { launch } from './browser.js';

const given = JSON.parse(process.argv[2]);
const [first, second] = given.relying_parties;
/** Longer than a frame takes. */
const PATIENCE_MS = 15_000;

await mkdir(given.screenshots, { recursive: true });
const browser = await launch();

const shot = (page, name) => page.screenshot({ path: `${given.screenshots}/logout-${name}.png`, fullPage: true });

/** A new browser, and where it went. */
async function open() {
  // The certificates are of CAs that this machine's browser need not trust.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const came = [];
  const complaints = [];
  context.on('request', (request) => came.push(request.url()));
  const page = await context.newPage();
  page.on('console', (message) => /Content Security Policy/.test(message.text()) && complaints.push(message.text()));
  return { context, page, came, complaints };
}

/** The address of an authorization request; its answer's address is at the client. */
function request(client, more = {}) {
  const asked = new URLSearchParams({
    client_id: client.id,
    redirect_uri: `${client.origin}/cb`,
    response_type: 'code',
    scope: 'openid',
    state: 'some state',
    nonce: 'some nonce',
    ...more,
  });
  return `${given.issuer}/authorize?${asked}`;
}

/** Signs in where that is needed; gives `session_state`. */
async function signIn(page, client, more) {
  await page.goto(request(client, more));
  if (await page.$('#password')) {
    await page.fill('#username', given.username);
    await page.fill('#password', given.password);
    await page.click('#login-submit');
  }
  await page.waitForURL(`${client.origin}/cb?**`);
  const answered = new URL(page.url()).searchParams;
  assert.equal(answered.get('error'), null);
  return answered.get('session_state');
}

/** What the provider's frame says. */
async function ask(page, message) {
  await page.waitForFunction(() => document.readyState === 'complete');
  await page.evaluate((message) => window.ask(message), message);
  await page.waitForFunction(() => document.getElementById('answer').textContent !== '-', null, { timeout: PATIENCE_MS });
  return page.textContent('#answer');
}

async function sessionManagement() {
  const { context, page, complaints } = await open();
  const state = await signIn(page, first);
  for (const [row, message, expected] of [
    ['signed in', `${first.id} ${state}`, 'unchanged'],
    ['another client', `${second.id} ${state}`, 'changed'],
    ['another state', `${first.id} x${state}`, 'changed'],
    ['no salt', `${first.id} ${state.split('.')[0]}`, 'error'],
    ['no client', state, 'error'],
    ['nothing', '', 'error'],
    ['no text', { client_id: first.id }, 'error'],
  ]) {
    assert.equal(await ask(page, message), expected, `S2-U14 ${row}`);
  }
  // A browser that keeps SubtleCrypto from the frame: its script hashes by itself.
  const bare = await context.newPage();
  await bare.addInitScript(() => Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined }));
  await bare.goto(`${first.origin}/cb`);
  assert.equal(await bare.evaluate(() => typeof crypto.subtle), 'undefined');
  assert.equal(await ask(bare, `${first.id} ${state}`), 'unchanged', 'S2-U14 without SubtleCrypto');
  assert.equal(await ask(bare, `${first.id} x${state}`), 'changed', 'S2-U14 without SubtleCrypto, another state');
  await bare.close();
  // The same hash at another origin.
  const tab = await context.newPage();
  const other = await signIn(tab, second);
  assert.equal(await ask(tab, `${second.id} ${other}`), 'unchanged');
  assert.equal(await ask(tab, `${first.id} ${state}`), 'changed');
  // The same person signs in again: nothing has changed.
  await signIn(tab, second, { prompt: 'login' });
  assert.equal(await ask(page, `${first.id} ${state}`), 'unchanged');
  await tab.goto(`${given.issuer}/logout`);
  await tab.click('#logout-confirm');
  await tab.waitForSelector('h1');
  assert.equal(await ask(page, `${first.id} ${state}`), 'changed', 'S2-U14 signed out');
  await shot(page, 'relying-party');
  assert.deepEqual(complaints, []);
  await context.close();
}

async function frontChannel() {
  const { context, page, came, complaints } = await open();
  await signIn(page, first);
  await signIn(page, second);
  came.length = 0;
  const query = new URLSearchParams({
    client_id: first.id,
    post_logout_redirect_uri: `${first.origin}/bye`,
    state: 'some state',
  });
  await page.goto(`${given.issuer}/logout?${query}`);
  await shot(page, 'confirm');
  await page.click('#logout-confirm');
  await page.waitForURL(`${first.origin}/bye?**`, { timeout: PATIENCE_MS });
  assert.equal(page.url(), `${first.origin}/bye?state=some+state`);
  const frames = came.filter((url) => new URL(url).pathname === '/out').map((url) => new URL(url));
  assert.deepEqual(frames.map((url) => url.origin).sort(), [first.origin, second.origin].sort());
  for (const url of frames) {
    assert.equal(url.searchParams.get('iss'), given.issuer);
    assert.ok(url.searchParams.get('sid'));
  }
  await page.goto(request(first, { prompt: 'none' }));
  await page.waitForURL(`${first.origin}/cb?**`);
  assert.equal(new URL(page.url()).searchParams.get('error'), 'login_required');

  // Without a place to go on to, the page stays.
  await signIn(page, first);
  await page.goto(`${given.issuer}/logout`);
  await page.click('#logout-confirm');
  await page.waitForLoadState();
  assert.equal(await page.textContent('h1'), 'You are logged out');
  await shot(page, 'done');
  assert.deepEqual(complaints, []);
  await context.close();
}

try {
  await sessionManagement();
  await frontChannel();
} finally {
  await browser.close();
}
