import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FixedPool } from '#server/db/fixed-pool.ts';
import { withHolders } from '#server/db/limit.ts';
import { reason } from '#server/log.ts';
import { eventually, freshDatabases, type Databases } from './databases.ts';
import { networkTo } from './network.ts';

let databases: Databases;
beforeAll(async () => {
	databases = await freshDatabases();
});
afterAll(() => databases.drop());

function pooled(max: number, { databaseUrl } = databases, more = ''): FixedPool {
	return new FixedPool({
		url: databaseUrl + more,
		max,
		applicationName: 'web-0:prisma',
		connectionTimeoutMs: 2_000
	});
}

async function withPool(max: number, work: (pool: FixedPool) => Promise<void>, more = ''): Promise<void> {
	const pool = pooled(max, databases, more);
	try {
		await pool.fill();
		await work(pool);
	} finally {
		await pool.close();
	}
	await eventually(async () => expect(await databases.census()).toEqual({}));
}

/** Nothing of this process runs for so long, as if it had been suspended. */
function hold(ms: number): void {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('a filled pool holds exactly its maximum, under its own name', () =>
	withPool(
		4,
		async (pool) => {
			expect(await databases.census()).toEqual({ 'web-0:prisma': 4 });
			expect(pool.gauge()).toEqual({ max: 4, open: 4, busy: 0, idle: 4, waiting: 0 });
			const { rows } = await pool.query(`SELECT current_setting('tcp_keepalives_idle') AS idle, current_setting('statement_timeout') AS statement,
				current_setting('idle_in_transaction_session_timeout') AS transaction`);
			expect(rows).toEqual([{ idle: '60', statement: '30s', transaction: '30s' }]);
		},
		'?application_name=something-else'
	));

test('gauges tell busy from idle and count who waits', () =>
	withPool(2, async (pool) => {
		const held = [await pool.connect(), await pool.connect()];
		const waiting = pool.connect();
		expect(pool.gauge()).toEqual({ max: 2, open: 2, busy: 2, idle: 0, waiting: 1 });
		held[0]?.release();
		(await waiting).release();
		held[1]?.release();
		expect(pool.gauge()).toEqual({ max: 2, open: 2, busy: 0, idle: 2, waiting: 0 });
	}));

test('lost connections are replaced until the pool is whole again', () =>
	withPool(3, async (pool) => {
		const before = pool.totals().opened;
		const { rowCount } = await databases.admin.query(
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'web-0:prisma' AND datname = current_database()`
		);
		expect(rowCount).toBe(3);
		await eventually(async () => {
			expect(pool.totals()).toEqual({ opened: before + 3, closed: 3 });
			expect(pool.gauge()).toMatchObject({ open: 3, idle: 3 });
			expect(await databases.census()).toEqual({ 'web-0:prisma': 3 });
		});
	}));

test('a connection that breaks while it is lent ends its statements and not the process', () =>
	withPool(2, async (pool) => {
		const client = await pool.connect();
		const before = pool.totals().opened;
		const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
		const ended = new Promise((resolve) => client.once('end', resolve));
		await databases.admin.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
		await ended;
		await expect(client.query('SELECT 1')).rejects.toThrow(/not queryable/);
		client.release();
		await eventually(async () => {
			expect(pool.totals()).toEqual({ opened: before + 1, closed: 1 });
			expect(pool.gauge()).toMatchObject({ open: 2, idle: 2 });
		});
	}));

test('connections that a network has forgotten are found, idle or at work, and replaced', async () => {
	const network = await networkTo(databases.databaseUrl);
	const pool = new FixedPool({
		url: network.through(databases.databaseUrl),
		max: 3,
		applicationName: 'web-0:prisma',
		connectionTimeoutMs: 2_000,
		statementTimeoutMs: 1_000
	});
	await pool.fill();
	const before = pool.totals().opened;
	const client = await pool.connect();
	network.forget();
	const lost = client.query('SELECT 1').catch((error: Error) => error.message);
	pool.test();
	await eventually(async () => expect(pool.totals()).toEqual({ opened: before + 2, closed: 2 }));
	await expect(pool.query('SELECT 1 AS one')).resolves.toMatchObject({ rows: [{ one: 1 }] });
	expect(await lost).toMatch(/Connection terminated/);
	client.release(true);
	await eventually(async () => expect(pool.totals()).toEqual({ opened: before + 3, closed: 3 }));
	await network.close();
	await pool.close();
	await eventually(async () => expect(await databases.census()).toEqual({}));
});

test('a process that was held while it waited for signs of life keeps its connections', () =>
	withPool(3, async (pool) => {
		pool.test();
		hold(1_500);
		await new Promise((resolve) => setImmediate(resolve));
		const asked = await Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_backend_pid()')));
		expect(asked).toHaveLength(3);
		expect(pool.totals()).toEqual({ opened: 3, closed: 0 });
	}));

test('a test of a connection at work waits for it and is nothing to its transaction', () =>
	withPool(1, async (pool) => {
		const client = await pool.connect();
		await client.query('BEGIN');
		pool.test();
		await client.query('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE');
		const slow = client.query('SELECT pg_sleep(1.5)');
		pool.test();
		await slow;
		await client.query('COMMIT');
		client.release();
		expect(pool.totals().closed).toBe(0);
	}));

test('a server that refuses is an error and not an endless wait', async () => {
	const pool = new FixedPool({
		url: databases.databaseUrl.replace(/\/[^/]*$/, '/no_such_database'),
		max: 2,
		applicationName: 'web-0:prisma',
		connectionTimeoutMs: 2_000
	});
	await expect(pool.fill()).rejects.toThrow('no_such_database');
	await pool.close();
});

/** Databases, and with them a role, of its own: of another test's sessions some may be on their way out, which the limit still counts. */
async function withLimitedRole(limit: number, work: (limited: Databases, role: string) => Promise<void>): Promise<void> {
	const limited = await freshDatabases();
	const role = new URL(limited.databaseUrl).username;
	try {
		await limited.admin.query(`ALTER ROLE ${role} CONNECTION LIMIT ${limit}`);
		await work(limited, role);
	} finally {
		await limited.drop();
	}
}

test('a refusal for the limit of the role names role, limit and who holds the connections', () =>
	withLimitedRole(4, async (limited, role) => {
		const rogue = new pg.Client({ connectionString: limited.databaseUrl, application_name: 'psql' });
		await rogue.connect();
		const pool = pooled(4, limited);
		await expect(pool.fill()).rejects.toThrow(
			`the role "${role}" has 4 of at most 4 connections, held by web-0:prisma 3, psql 1`
		);
		// Without the rogue there is room.
		await rogue.end();
		await eventually(async () => expect(await limited.census()).toEqual({ 'web-0:prisma': 3 }));
		await pool.fill();
		expect(pool.gauge()).toMatchObject({ max: 4, open: 4 });
		await pool.close();
	}));

test('a refusal for a limit that nobody seems to reach names that limit all the same', () =>
	withLimitedRole(2, async (limited, role) => {
		const pool = pooled(3, limited);
		const client = await pool.connect();
		const refusal = Object.assign(new Error(`too many connections for role "${role}"`), {
			code: '53300',
			routine: 'InitializeSessionUserId'
		});
		expect(reason(await withHolders(refusal, client))).toContain(
			`the role "${role}" has 1 of at most 2 connections, held by web-0:prisma 1`
		);
		client.release();
		await pool.close();
	}));

test('a refusal when nobody is left to ask says so', () =>
	withLimitedRole(0, async (limited) => {
		const pool = pooled(1, limited);
		await expect(pool.fill()).rejects.toThrow(/too many connections for role .* no connection is left to ask/);
		await pool.close();
	}));
