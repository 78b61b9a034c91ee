/**
 * The same topology as `poolwright.toml`, for PM2: `pm2 start ecosystem.config.cjs --env production`.
 *
 * PM2 reads no `.env` by itself, so this file does; the real environment wins.
 */
const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { parseEnv } = require('node:util');

const dotenv = join(__dirname, '.env');
const declared = existsSync(dotenv) ? parseEnv(readFileSync(dotenv, 'utf8')) : {};

// What PM2 puts into an instance loses against the environment around it: with one of these exported
// (a shell inside another PM2, say) every instance would hold the same executor id.
const INSTANCE_VARIABLES = ['PM2_INSTANCE_ID', 'NODE_APP_INSTANCE'];
for (const name of INSTANCE_VARIABLES) {
	delete process.env[name];
	delete declared[name];
}

const settings = { ...declared, ...process.env };
const drainTimeoutMs = Number(settings.DRAIN_TIMEOUT_MS ?? 30_000);

/**
 * PM2 takes 0 for "one per CPU" and nonsense for 1. A number that was not meant starts one worker, which
 * finds this mistake with all the others in its environment, says them at once and exits with 2.
 */
function instances(found = '3') {
	const valid = /^\d+$/.test(found) && Number(found) >= 1 && Number(found) <= 512;
	return valid ? Number(found) : 1;
}

module.exports = {
	apps: [
		{
			name: 'web',
			script: 'server.js',
			cwd: __dirname,
			interpreter: join(__dirname, 'node_modules/.bin/node'),
			exec_mode: 'cluster',
			instances: instances(settings.PM2_INSTANCES),
			instance_var: 'PM2_INSTANCE_ID',
			// Online is not ready: ready is when the worker says so.
			wait_ready: true,
			listen_timeout: 30_000,
			// The drain, and room for closing the pools after it.
			kill_timeout: drainTimeoutMs + 5_000,
			// 2 is an environment that is wrong: it will not be right at the next attempt. (Not with a
			// restart delay beside it: PM2 would then show 'waiting restart' for ever.)
			stop_exit_codes: [2],
			env: declaredOnly(),
			env_production: { NODE_ENV: 'production' }
		}
	]
};

/** `.env` without what the real environment has: PM2 would let `env` win. */
function declaredOnly() {
	return Object.fromEntries(Object.entries(declared).filter(([name]) => !(name in process.env)));
}
