import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ask, described, lockName, storeOf, tryTake, type Holder } from '#server/executor-lock.ts';

const FIXTURES = new URL('../../../fixtures/lock/', import.meta.url);
const fixture = (name: string): unknown => JSON.parse(readFileSync(new URL(name, FIXTURES), 'utf8'));

const US: Holder = { pid: process.pid, under: 'nobody' };
/** A lock that no other test has. */
const fresh = () => lockName('web-0', 'db:5432/dbos', randomUUID());

describe('what the Rust stack has to agree on', () => {
	test.each(fixture('names.json') as Record<string, string>[])('the lock of $executor_id in $store', (example) => {
		const { executor_id = '', store = '', namespace = '', name } = example;
		expect(lockName(executor_id, store, namespace)).toBe(name);
	});

	test.each(fixture('stores.json') as { url: string; store: string }[])('$url is kept in $store', ({ url, store }) => {
		expect(storeOf(url)).toBe(store);
	});

	test('a holder, and its words', () => {
		const holder = fixture('holder.json') as Holder;
		expect(holder).toEqual({ pid: 4711, since: '2026-11-23T09:30:00Z', under: 'pm2', pm2_process: '4200/0' });
		expect(described(holder)).toBe('process 4711 (under PM2, since 2026-11-23T09:30:00Z)');
		expect(described({ pid: 7 })).toBe('process 7');
		expect(described(undefined)).toBe('another process');
	});
});

describe('a lock', () => {
	test('is held once, and its holder says who it is until it gives it back', async () => {
		const name = fresh();
		const lock = await tryTake(name, US);
		expect(await tryTake(name, US)).toBeUndefined();
		const found = await ask(name);
		expect(found?.holder).toEqual(US);
		lock?.giveBack();
		await found?.ended;
		const again = await tryTake(name, US);
		expect(again).toBeDefined();
		again?.giveBack();
	});

	test('that nobody holds has nobody to ask', async () => {
		expect(await ask(fresh())).toBeUndefined();
	});
});
