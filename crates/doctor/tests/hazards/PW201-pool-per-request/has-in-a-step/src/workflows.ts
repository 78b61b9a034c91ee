import { DBOS } from '@dbos-inc/dbos-sdk';
import { Client } from 'pg';

async function charge(): Promise<void> {
	const client = new Client(process.env.DATABASE_URL); // ← here
	await client.connect();
	await client.query('SELECT 1');
	await client.end();
}

export const order = DBOS.registerWorkflow(async () => {
	await DBOS.runStep(charge, { name: 'charge' });
});
