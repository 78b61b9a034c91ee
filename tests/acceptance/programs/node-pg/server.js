'use strict';

const { createServer } = require('node:http');
const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: Number(process.env.DB_POOL_SIZE ?? 10) });
pool.on('error', (error) => console.error(`an idle connection broke: ${error.message}`));

const server = createServer(async (request, response) => {
	try {
		const { rows } = await pool.query('SELECT now() AS time');
		response.setHeader('content-type', 'application/json');
		response.end(JSON.stringify({ pid: process.pid, time: rows[0].time }));
	} catch (error) {
		console.error(error);
		response.statusCode = 500;
		response.end();
	}
});

server.listen({ port: Number(process.env.PORT ?? 3000), reusePort: process.env.REUSE_PORT === 'yes' }, () => {
	console.log(`listening on ${server.address().port}`);
});

process.on('SIGTERM', () => {
	server.close(async () => {
		await pool.end();
		process.exit(0);
	});
	// Connections that clients keep busy would hold it open for ever.
	setTimeout(() => server.closeAllConnections(), 1_000);
});
