'use strict';

// A worker that knows Poolwright's channel and has a mistake: under `POST /burst` its workflows hold one connection of DBOS' pool
// and take a second one. Eight at once, and a pool of three is stuck for good.

const { DBOS } = require('@dbos-inc/dbos-sdk');
const { createServer } = require('node:http');
const pg = require('pg');

const executorID = process.env.DBOS__VMID;
const max = Number(process.env.DBOS_POOL_MAX);
const pool = new pg.Pool({
	connectionString: process.env.DBOS_SYSTEM_DATABASE_URL,
	application_name: `${executorID}:dbos`,
	max,
	idleTimeoutMillis: 0
});
pool.on('error', (error) => console.error(error));

// One workflow at a time may hold two, which always works. The mistake is in this process alone: the next one has not made it.
let turn = Promise.resolve();
let guarded = true;

function alone(work) {
	if (!guarded) return work();
	const mine = turn.then(work);
	turn = mine.catch(() => {});
	return mine;
}

/** Takes a connection, and while it holds that, another. */
async function transfer(number) {
	const from = await pool.connect();
	try {
		await from.query('BEGIN');
		await from.query(`SELECT 'account' AS debited, $1::int AS number`, [number]);
		const to = await pool.connect();
		try {
			await to.query('SELECT 1 AS credited');
		} finally {
			to.release();
		}
		await from.query('COMMIT');
	} finally {
		from.release();
	}
}

const move = DBOS.registerWorkflow(
	(number) => DBOS.runStep(() => alone(() => transfer(number)), { name: 'transfer' }),
	{ name: 'move' }
);

const server = createServer(async (request, response) => {
	response.setHeader('connection', 'close');
	response.setHeader('x-worker', executorID);
	if (request.method === 'POST') {
		guarded = request.url !== '/burst';
		// Not waited for: to record a workflow takes a connection, too.
		for (let number = 0; number < 8; number += 1) {
			DBOS.startWorkflow(move, { workflowID: `move-${Date.now()}-${number}` })(number).catch(console.error);
		}
		response.statusCode = 202;
	}
	response.end();
});

function gauges() {
	const busy = pool.totalCount - pool.idleCount;
	const dbos = { max, open: pool.totalCount, busy, idle: pool.idleCount, waiting: pool.waitingCount };
	process.send({ type: 'gauges', pools: { dbos } });
}

async function launch() {
	DBOS.setConfig({
		name: 'starving',
		systemDatabaseUrl: process.env.DBOS_SYSTEM_DATABASE_URL,
		systemDatabasePool: pool,
		executorID,
		applicationVersion: 'starving-1'
	});
	await DBOS.launch();
	process.send({ type: 'started', pid: process.pid, executor_id: executorID, pools: { dbos: max } });
	server.listen({ fd: 3 }, () => {
		process.send({ type: 'ready' });
		setInterval(gauges, 1000).unref();
	});
}

process.on('message', (message) => {
	if (message.type !== 'launch') return;
	launch().catch((error) => {
		console.error(error);
		process.exit(1);
	});
});
process.on('SIGTERM', () => {
	process.send({ type: 'draining' });
	server.close();
	DBOS.shutdown()
		.then(() => pool.end())
		.finally(() => process.exit(0));
});
process.send({ type: 'booted' });
