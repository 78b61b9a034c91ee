/**
 * Follows a reload on the fleet's page in a real browser.
 *
 *     node fleet.mjs <url> <name>
 *
 * Says `{"event":"live"}` when the page shows the fleet, and at the end, one line of JSON, which steps were on the page
 * and when. Fails when the page throws, asks elsewhere, is wider than a phone, or cannot be used by keyboard.
 * Screenshots are <name>-….png. Runs in the directory of whoever has playwright-core; CHROMIUM names the browser.
 */
import { createRequire } from 'node:module';
import net from 'node:net';
import process from 'node:process';

const { chromium } = createRequire(`${process.cwd()}/`)('playwright-core');

const LIMIT = 60_000;
/** As a README shows it, at night, and on a phone of somebody who is made dizzy by what moves. */
const LOOKS = {
  light: { viewport: { width: 1280, height: 900 }, colorScheme: 'light', deviceScaleFactor: 1.5 },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: 'dark', deviceScaleFactor: 1.5 },
  phone: { viewport: { width: 360, height: 780 }, colorScheme: 'light', deviceScaleFactor: 2, isMobile: true, reducedMotion: 'reduce' },
};
const [url, name] = process.argv.slice(2);
const problems = [];
const say = (what) => console.log(JSON.stringify(what));

const wire = await severable(new URL(url));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  const watched = await open({ viewport: { width: 1280, height: 900 } }, wire.url);
  const light = await open(LOOKS.light);
  await watched.evaluate(record);
  say({ event: 'live' });

  await watched.locator('[data-testid="step"][data-slot="web-1"][data-step="drains"]').waitFor({ timeout: LIMIT });
  await light.screenshot({ path: `${name}-reload-light.png` });
  await light.context().close();
  await watched.locator('[data-testid="step"][data-slot="web-2"][data-step="serves"]').waitFor({ timeout: LIMIT });
  await watched.waitForFunction(() => [...document.querySelectorAll('[data-testid="slot"]')].every((row) => row.dataset.state === 'serving'), null, { timeout: LIMIT });
  const { steps, states } = await watched.evaluate(() => window.recorded);

  await usableByKeyboard(watched);
  await marksAreDrawn(watched);
  await saysThatTheStreamIsLost(watched);
  for (const [look, options] of Object.entries(LOOKS)) {
    const page = await open(options);
    if (look === 'phone') await fitsAPhone(page);
    await page.screenshot({ path: `${name}-${look}.png`, fullPage: true });
    await page.context().close();
  }
  if (problems.length > 0) throw new Error(problems.join('; '));
  say({ event: 'done', steps, states });
} catch (error) {
  console.error(`${url}: ${error instanceof Error ? error.stack : String(error)}`);
  if (problems.length > 0) console.error(problems.join('; '));
  process.exitCode = 1;
} finally {
  await browser.close();
  wire.cut();
}

/** The way to an address, which can be cut and mended. */
async function severable(to) {
  const ends = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(to.port), to.hostname);
    for (const end of [near, far]) {
      ends.add(end);
      end.on('error', () => {}).on('close', () => { ends.delete(end); near.destroy(); far.destroy(); });
    }
    near.pipe(far).pipe(near);
  });
  const listen = (port) => new Promise((bound) => { server.listen(port, '127.0.0.1', bound); });
  await listen(0);
  const { port } = server.address();
  return {
    url: `http://127.0.0.1:${port}/`,
    cut() {
      server.close();
      for (const end of ends) end.destroy();
    },
    mend: () => listen(port),
  };
}

/** A page in a context of its own that shows the fleet. */
async function open(options, address = url) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on('pageerror', (error) => problems.push(`the page threw ${error}`));
  // What its policy forbids is told on the console.
  page.on('console', (message) => {
    const cut = /ERR_(CONNECTION|EMPTY|INCOMPLETE)/.test(message.text());
    if (message.type() === 'error' && !cut) problems.push(`the console has ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(address)) problems.push(`it asked for ${request.url()}`);
  });
  const answer = await page.goto(address);
  if (!answer?.ok()) throw new Error(`the page answered ${answer?.status()}, expected 200`);
  await page.locator('body[data-stream="live"] [data-testid="slot"][data-state="serving"]').nth(2).waitFor({ timeout: LIMIT });
  return page;
}

/** Notes, in the page, when each step and each state of a slot was there to be seen. */
function record() {
  window.recorded = { steps: [], states: [] };
  const known = new Set();
  const look = () => {
    const at = Date.now();
    for (const { dataset } of document.querySelectorAll('[data-testid="step"]')) {
      const { slot, step, key } = dataset;
      if (known.has(key)) continue;
      known.add(key);
      window.recorded.steps.push({ slot, step, at });
    }
    for (const { dataset } of document.querySelectorAll('[data-testid="slot"]')) {
      const { slot, state } = dataset;
      const last = window.recorded.states.findLast((one) => one.slot === slot);
      if (last?.state !== state) window.recorded.states.push({ slot, state, at });
    }
  };
  look();
  new MutationObserver(look).observe(document.querySelector('main'), { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state', 'data-step'] });
}

async function usableByKeyboard(page) {
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.className);
  await page.locator('body').focus();
  await page.keyboard.press('Tab');
  if ((await focused()) !== 'skip') problems.push(`the first Tab went to ${await focused()}, expected the link to the slots`);
  await page.keyboard.press('Enter');
  for (let presses = 0; presses < 5 && !(await focused())?.startsWith('Sessions of web-0'); presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.locator('[data-sessions="web-0"] [data-testid="session"]').first().waitFor({ timeout: LIMIT });
  // It is drawn anew every second, and the focus stays where it is.
  const at = await page.title();
  await page.evaluate(() => new Promise((seen) => new MutationObserver(seen).observe(document.querySelector('#summary'), { characterData: true, childList: true, subtree: true })));
  if (!(await focused())?.startsWith('Sessions of web-0')) problems.push(`the focus went to ${await focused()} when the page was drawn anew (${at})`);
  await page.keyboard.press('Enter');
  await page.locator('[data-sessions="web-0"]').waitFor({ state: 'detached', timeout: LIMIT });
}

async function fitsAPhone(page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > 360) problems.push(`the page is ${wide} px wide on a phone of 360`);
  const moves = await page.evaluate(() => [...document.querySelectorAll('*')].some((element) => getComputedStyle(element).transitionDuration.split(', ').some((time) => time !== '0s')));
  if (moves) problems.push('something moves though reduced motion is asked for');
}

async function marksAreDrawn(page) {
  const marks = await page.locator('[data-testid="pool"]').first().locator('[data-testid="mark"]').count();
  if (marks < 9) problems.push(`the plot has ${marks} marks, expected nine steps of a reload of three`);
}

async function saysThatTheStreamIsLost(page) {
  wire.cut();
  await page.locator('body[data-stream="lost"] #stream').getByText('the stream is lost').waitFor({ timeout: LIMIT });
  await wire.mend();
  await page.locator('body[data-stream="live"] #stream').getByText('live').waitFor({ timeout: LIMIT });
}
