/**
 * Places an order through the page in a real browser and watches it become shipped.
 *
 *     node scripts/page.mjs <url> <screenshot.png>
 *
 * Holds on to the contract's `data-testid`s only, so that it drives both stacks. CHROMIUM names the
 * browser's executable.
 */
import process from 'node:process';
import { chromium } from 'playwright-core';

/** The workflow takes a second or two; a fleet under load takes longer. */
const SHIPPED_WITHIN_MS = 30_000;

const [url, screenshot] = process.argv.slice(2);
if (!url || !screenshot) {
	console.error('usage: node scripts/page.mjs <url> <screenshot.png>');
	process.exit(2);
}

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
	args: [
		'--headless',
		'--no-sandbox',
		'--disable-gpu',
		'--disable-quic',
		'--no-first-run',
		'--disable-background-networking',
		'--disable-component-update',
		'--disable-sync'
	]
});
try {
	console.log(`order ${await placeAndFollow(await browser.newPage(), url, screenshot)} shipped`);
} catch (error) {
	console.error(`${url}: ${error instanceof Error ? error.message : String(error)}`);
	process.exitCode = 1;
} finally {
	await browser.close();
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} address
 * @param {string} picture
 * @returns {Promise<string>} the id of the order that was placed
 */
async function placeAndFollow(page, address, picture) {
	/** @type {Error[]} */
	const thrown = [];
	page.on('pageerror', (error) => thrown.push(error));

	const answer = await page.goto(address, { waitUntil: 'networkidle' });
	if (!answer?.ok()) throw new Error(`the page answered ${answer?.status()}, expected 200`);
	const rows = page.getByTestId('order');
	const before = new Set(await ids(rows));

	const form = page.getByTestId('place-order');
	await form.locator('[name="item"]').fill('Espresso beans');
	await form.locator('[name="quantity"]').fill('2');
	await form.locator('[type="submit"], button:not([type])').first().click();

	const id = await placed(page, before);
	const row = page.locator(`[data-testid="order"][data-order-id="${id}"]`);
	try {
		await row.and(page.locator('[data-status="shipped"]')).waitFor({ timeout: SHIPPED_WITHIN_MS });
	} catch {
		const status = await row.getAttribute('data-status', { timeout: 1000 }).catch(() => 'gone');
		throw new Error(`order ${id} is ${status} after ${SHIPPED_WITHIN_MS} ms, expected shipped`);
	}
	await page.screenshot({ path: picture, fullPage: true });
	if (thrown.length > 0) throw new Error(`the page threw: ${thrown.map(String).join('; ')}`);
	return id;
}

/** @param {import('playwright-core').Locator} rows */
function ids(rows) {
	return rows.evaluateAll((elements) => elements.map((element) => element.getAttribute('data-order-id') ?? ''));
}

/**
 * Waits for a row that was not there before.
 * @param {import('playwright-core').Page} page
 * @param {Set<string>} before
 * @returns {Promise<string>}
 */
async function placed(page, before) {
	const handle = await page
		.waitForFunction(
			(known) => {
				const found = [...document.querySelectorAll('[data-testid="order"]')]
					.map((element) => element.getAttribute('data-order-id'))
					.find((id) => id !== null && !known.includes(id));
				return found ?? false;
			},
			[...before],
			{ timeout: SHIPPED_WITHIN_MS }
		)
		.catch(() => {
			throw new Error('no new order appeared after the form was sent, expected a new row');
		});
	const id = await handle.jsonValue();
	if (typeof id !== 'string') throw new Error('the new row has no data-order-id');
	return id;
}
