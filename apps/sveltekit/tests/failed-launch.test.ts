import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureDbosLaunched } from '#server/dbos/init.ts';
import { freshDatabases, useEnvironment, type Databases } from './databases.ts';

let databases: Databases;
beforeAll(async () => {
	databases = await freshDatabases();
	useEnvironment(databases);
});
afterAll(() => databases.drop());

test('a launch that fails rejects for everybody, names the cause, and is not tried again', async () => {
	const callers = Array.from({ length: 5 }, () => ensureDbosLaunched());
	for (const outcome of await Promise.allSettled(callers)) {
		expect(outcome).toMatchObject({ status: 'rejected', reason: { message: expect.stringMatching(/schema version 0/) } });
	}
	await expect(ensureDbosLaunched()).rejects.toThrow(/schema version 0/);
});
