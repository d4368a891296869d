// Signs in, consents, refuses, comes back and signs out with a real browser, for two foreign relying parties, and
// rotates the key in between. Takes one argument, a JSON object:
//   relying_party  URL of the one that runs already
//   client         {issuer, id, secret, redirect_uri} of the one that this program starts
//   username, password, admin (the key-service's administration command), screenshots (a folder)

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { launch } from './browser.js';
import { start } from './relying_party.js';

const given = JSON.parse(process.argv[2]);
const run = promisify(execFile);
/** How long the new key may take to become active: the lead of the profile, generously. */
const ROTATION_MS = 60_000;

await mkdir(given.screenshots, { recursive: true });
const browser = await launch();

const shot = (page, name) => page.screenshot({ path: `${given.screenshots}/${name}.png`, fullPage: true });

/** What the relying party shows after a login. */
async function shown(page) {
  await page.waitForSelector('#kid, #failure');
  const failure = await page.$('#failure');
  assert.equal(failure && (await failure.textContent()), null);
  return {
    kid: await page.textContent('#kid'),
    subject: (await page.textContent('#subject')).trim(),
    email: await page.textContent('#userinfo [data-claim=email]'),
    userinfo: await page.textContent('#userinfo'),
  };
}

async function signIn(page, password) {
  await page.fill('#username', given.username);
  await page.fill('#password', password);
  await page.click('#login-submit');
}

/** From a browser that nobody knows to a verified ID token, and out again. */
async function whole(name, url) {
  // The certificate is of the development CA, which this machine's browser need not trust.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => /Content Security Policy/.test(message.text()) && complaints.push(message.text()));

  await page.goto(url);
  await shot(page, `${name}-1-relying-party`);
  await page.click('#sign-in');
  assert.match(await page.textContent('h1'), /Sign in/);
  await shot(page, `${name}-2-login`);
  await signIn(page, 'not the password');
  await page.waitForSelector('#username');
  await shot(page, `${name}-3-login-refused`);
  await signIn(page, given.password);

  await page.waitForSelector('#consent-allow');
  await shot(page, `${name}-4-consent`);
  await page.click('#consent-deny');
  await page.waitForSelector('#failure');
  assert.match(await page.textContent('#failure'), /access_denied/);

  await page.goto(url);
  await page.click('#sign-in');
  await page.waitForSelector('#consent-allow');
  await page.click('#consent-allow');
  const first = await shown(page);
  await shot(page, `${name}-5-signed-in`);
  assert.equal(first.subject, given.username);
  assert.match(first.email, /@example\.com/);

  // Signed in and consented: the second time no page is shown.
  await page.click('#sign-in');
  assert.equal((await shown(page)).kid, first.kid);
  if (await page.$('#sign-in-form-post')) {
    await page.click('#sign-in-form-post');
    await page.waitForURL(url);
    assert.equal((await shown(page)).subject, given.username);
  }

  const [program, ...rest] = given.admin;
  await run(program, [...rest, 'rotate', 'id-token/ES256']);
  const until = Date.now() + ROTATION_MS;
  let kid = first.kid;
  while (kid === first.kid) {
    assert.ok(Date.now() < until, 'the new key never signed');
    await new Promise((resolve) => setTimeout(resolve, 500));
    await page.goto(url);
    await page.click('#sign-in');
    ({ kid } = await shown(page));
  }
  await shot(page, `${name}-6-rotated`);

  await page.click('#sign-out');
  const confirm = await Promise.race([
    page.waitForSelector('#logout-confirm').catch(() => null),
    page.waitForURL(url).then(() => null, () => null),
  ]);
  if (confirm) {
    await shot(page, `${name}-7-logout`);
    await confirm.click();
    await page.waitForURL(url);
  }
  await page.click('#sign-in');
  await page.waitForSelector('#password');
  assert.deepEqual(complaints, []);
  await context.close();
}

const second = await start(given.client);
try {
  await whole('openidconnect', given.relying_party);
  await whole('openid-client', second.url);
} finally {
  second.end();
  await browser.close();
}
