import { expect, test } from 'vitest';
import { Limiter } from '#server/limiter.ts';

test('never runs more than its limit at once, and runs everything', async () => {
	const limiter = new Limiter(2);
	let running = 0;
	let peak = 0;
	const results = await Promise.all(
		Array.from({ length: 20 }, (_, i) =>
			limiter.run(async () => {
				peak = Math.max(peak, (running += 1));
				await new Promise((resolve) => setImmediate(resolve));
				running -= 1;
				return i;
			})
		)
	);
	expect(peak).toBe(2);
	expect(results).toEqual(Array.from({ length: 20 }, (_, i) => i));
});

test('work that fails gives its place back', async () => {
	const limiter = new Limiter(1);
	await expect(limiter.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
	await expect(limiter.run(async () => 'next')).resolves.toBe('next');
});
