/** The ecosystem file is a program: it is run, as PM2 runs it, in a folder with a `.env` of the test's. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), 'ecosystem-'));
	copyFileSync(new URL('../ecosystem.config.cjs', import.meta.url), join(folder, 'ecosystem.config.cjs'));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Evaluated {
	readonly app: Record<string, unknown> & { env: Record<string, string> };
	readonly left: string[];
}

function evaluate(dotenv: string, environment: Record<string, string> = {}): Evaluated {
	writeFileSync(join(folder, '.env'), dotenv);
	const program = `
		const { apps: [app] } = require('./ecosystem.config.cjs');
		console.log(JSON.stringify({ app, left: Object.keys(process.env) }));`;
	const options = { cwd: folder, encoding: 'utf8', env: environment, stdio: 'pipe' } as const;
	return JSON.parse(execFileSync(process.execPath, ['-e', program], options)) as Evaluated;
}

test('three instances by default, in cluster mode, each told its number by PM2_INSTANCE_ID', () => {
	expect(evaluate('').app).toMatchObject({
		instances: 3,
		exec_mode: 'cluster',
		instance_var: 'PM2_INSTANCE_ID',
		wait_ready: true,
		env_production: { NODE_ENV: 'production' }
	});
});

test('.env is read, and the real environment wins over it', () => {
	const dotenv = 'PM2_INSTANCES=2\nPRISMA_POOL_MAX=2\nDBOS_POOL_MAX=4\n';
	expect(evaluate(dotenv).app).toMatchObject({
		instances: 2,
		env: { PM2_INSTANCES: '2', PRISMA_POOL_MAX: '2', DBOS_POOL_MAX: '4' }
	});
	const { app } = evaluate(dotenv, { PM2_INSTANCES: '5', DBOS_POOL_MAX: '3' });
	expect(app).toMatchObject({ instances: 5, env: { PRISMA_POOL_MAX: '2' } });
	expect(app.env).not.toHaveProperty('DBOS_POOL_MAX');
});

test('an instance id from the surroundings reaches no instance', () => {
	const { app, left } = evaluate('PM2_INSTANCE_ID=1\n', { PM2_INSTANCE_ID: '0', NODE_APP_INSTANCE: '0', KEPT: '1' });
	expect(left).toContain('KEPT');
	expect(left).not.toContain('PM2_INSTANCE_ID');
	expect(left).not.toContain('NODE_APP_INSTANCE');
	expect(app.env).toEqual({});
});

test('PM2 gives a worker at least the time that its drain may take', () => {
	expect(evaluate('DRAIN_TIMEOUT_MS=60000\n').app['kill_timeout']).toBeGreaterThan(60_000);
});

test('a number of instances that is none reaches one worker, which reports it with every other mistake', () => {
	for (const nonsense of ['three', '0', '-1', '513', '']) {
		const { app } = evaluate(`PM2_INSTANCES=${nonsense}\n`);
		expect(app).toMatchObject({ instances: 1, env: { PM2_INSTANCES: nonsense }, stop_exit_codes: [2] });
	}
});
