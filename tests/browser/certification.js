// The pages of an authentication request in a real browser, as a tester of the certification sees them: sign-in in three
// languages, refused, consent asked and refused, accounts, errors, an answer by a form that posts itself and one in the
// fragment. Takes one argument, a JSON object:
//   requests     URLs by name: login, german, french, consent, form_post, fragment, account, unknown
//   callback     where the answers go; a page with an element `landed`
//   links        {logo, policy, tos} that the login page must have
//   hosts        names that are on this machine
//   username, password, screenshots (a folder)

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { launch } from './browser.js';

const given = JSON.parse(process.argv[2]);
await mkdir(given.screenshots, { recursive: true });
const browser = await launch(`--host-resolver-rules=${given.hosts.map((host) => `MAP ${host} 127.0.0.1`).join(',')}`);
const complaints = [];

async function person(options = {}) {
  // The certificate is of the development CA, which this machine's browser need not trust.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.on('console', (message) => /Content Security Policy/.test(message.text()) && complaints.push(message.text()));
  return page;
}

const shot = (page, name) => page.screenshot({ path: `${given.screenshots}/certification-${name}.png`, fullPage: true });
const heading = (page) => page.textContent('h1');

async function signIn(page, password = given.password) {
  await page.fill('#username', given.username);
  await page.fill('#password', password);
  await page.click('#login-submit');
}

async function landed(page) {
  await page.waitForURL((url) => url.href.startsWith(given.callback));
  await page.waitForSelector('#landed');
  return new URL(page.url());
}

/** The affirmative button is the first submit button of the first form. */
async function first(page, id) {
  const button = await page.$('form button[type=submit]');
  assert.equal(await button.getAttribute('id'), id);
}

try {
  const page = await person();
  await page.goto(given.requests.login);
  assert.equal(await heading(page), 'Sign in');
  await first(page, 'login-submit');
  for (const [selector, uri] of [
    ['img.logo', given.links.logo],
    ['a[href]', given.links.policy],
    ['a[href]', given.links.tos],
  ]) {
    const found = await page.$$eval(selector, (all) => all.map((each) => each.src ?? each.href));
    assert.ok(found.includes(uri), `${uri} of ${found}`);
  }
  await shot(page, 'login');
  await signIn(page, 'not the password');
  await page.waitForSelector('#problem');
  await shot(page, 'login-refused');

  for (const language of ['german', 'french']) {
    const other = await person({ colorScheme: 'dark', viewport: { width: 360, height: 740 } });
    await other.goto(given.requests[language]);
    assert.notEqual(await heading(other), 'Sign in');
    assert.equal(await other.getAttribute('html', 'lang'), language.slice(0, 2) === 'ge' ? 'de' : 'fr');
    const wide = await other.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    assert.equal(wide, false, 'it fits a telephone');
    await shot(other, `login-${language}`);
    await other.context().close();
  }

  await signIn(page);
  await page.waitForSelector('#consent-allow');
  await first(page, 'consent-allow');
  await shot(page, 'consent');
  await page.click('#consent-deny');
  assert.equal((await landed(page)).searchParams.get('error'), 'access_denied');
  await page.goto(given.requests.login);
  await page.click('#consent-allow');
  assert.ok((await landed(page)).searchParams.get('code'));

  // A form that posts itself: no code in the address.
  await page.goto(given.requests.form_post);
  assert.equal((await landed(page)).search, '');

  await page.goto(given.requests.fragment);
  assert.match((await landed(page)).hash, /[#&]code=/);

  await page.goto(given.requests.account);
  await page.waitForSelector('#account-this');
  await first(page, 'account-this');
  await shot(page, 'account');
  await page.click('#account-this');
  assert.ok((await landed(page)).searchParams.get('code'));
  await page.goto(given.requests.account);
  await page.click('#account-another');
  await page.waitForSelector('#username');
  await signIn(page);
  assert.ok((await landed(page)).searchParams.get('code'));

  const response = await page.goto(given.requests.unknown);
  assert.equal(response.status(), 400);
  assert.equal(await heading(page), 'Authorization error');
  await shot(page, 'error');
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
