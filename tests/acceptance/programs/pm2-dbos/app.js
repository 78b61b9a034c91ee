'use strict';

const { DBOS } = require('@dbos-inc/dbos-sdk');
const { createServer } = require('node:http');

const greet = DBOS.registerWorkflow(
	async (name) => {
		const words = await DBOS.runStep(async () => `Hello, ${name}`, { name: 'find the words' });
		return DBOS.runStep(async () => `${words}!`, { name: 'mean them' });
	},
	{ name: 'greet' }
);

let leaving = false;

const server = createServer(async (request, response) => {
	try {
		const greeting = await greet('PM2');
		if (leaving) response.setHeader('connection', 'close');
		response.setHeader('content-type', 'application/json');
		response.end(JSON.stringify({ pid: process.pid, executor: DBOS.executorID, greeting }));
	} catch (error) {
		console.error(error);
		response.statusCode = 500;
		response.end();
	}
});

async function main() {
	DBOS.setConfig({
		name: 'greeter',
		systemDatabaseUrl: process.env.DBOS_SYSTEM_DATABASE_URL,
		systemDatabasePoolSize: Number(process.env.DBOS_POOL_MAX ?? 20)
	});
	await DBOS.launch();
	server.listen(Number(process.env.PORT), () => process.send?.('ready'));
}

process.on('SIGINT', () => {
	leaving = true;
	server.close(async () => {
		await DBOS.shutdown();
		process.exit(0);
	});
});

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
