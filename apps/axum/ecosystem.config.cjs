/**
 * The same topology as `poolwright.toml`, for PM2: `pm2 start ecosystem.config.cjs --env production`.
 *
 * PM2 reads no `.env` by itself, so this file does; the real environment wins.
 */
const { existsSync, readFileSync } = require('node:fs');
const { join, resolve } = require('node:path');
const { parseEnv } = require('node:util');

const dotenv = join(__dirname, '.env');
const declared = existsSync(dotenv) ? parseEnv(readFileSync(dotenv, 'utf8')) : {};

// What PM2 puts into an instance loses against the environment around it: with one of these exported
// (a shell inside another PM2, say) every instance would hold the same executor id. The other two are
// a supervisor's: this fleet's supervisor is PM2.
for (const name of ['PM2_INSTANCE_ID', 'NODE_APP_INSTANCE', 'POOLWRIGHT_CHANNEL', 'LISTEN_FDS']) {
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

/** `.env` without what the real environment has: PM2 would let `env` win. */
function declaredOnly() {
	return Object.fromEntries(Object.entries(declared).filter(([name]) => !(name in process.env)));
}

module.exports = {
	apps: [
		{
			name: 'web',
			script: resolve(__dirname, settings.ORDER_DESK_BIN ?? '../../target/release/order-desk-axum'),
			cwd: __dirname,
			interpreter: 'none',
			// PM2's cluster is Node's own. Forked, each worker binds the port itself; the worker sees
			// that PM2 started it and shares the port with SO_REUSEPORT.
			exec_mode: 'fork',
			instances: instances(settings.PM2_INSTANCES),
			instance_var: 'PM2_INSTANCE_ID',
			// Online is not ready: ready is when the worker says so, on the channel that PM2 gives to
			// programs of any language.
			wait_ready: true,
			listen_timeout: 30_000,
			// The drain, and room for closing the pools after it.
			kill_timeout: drainTimeoutMs + 5_000,
			// A worker that cannot launch exits with 1, and with 2 when its environment is wrong: the
			// second does not get better by trying again.
			stop_exit_codes: [2],
			env: declaredOnly(),
			env_production: { NODE_ENV: 'production' }
		}
	]
};
