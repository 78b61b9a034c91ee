import { DBOS } from '@dbos-inc/dbos-sdk';
import { Pool } from 'pg';

const pool = new Pool({ max: 3, connectionTimeoutMillis: 5000 });
pool.on('error', (error) => console.error(error));

async function charge(): Promise<void> {
	await pool.query('SELECT 1');
}

export const order = DBOS.registerWorkflow(async () => {
	await DBOS.runStep(charge, { name: 'charge' });
});
