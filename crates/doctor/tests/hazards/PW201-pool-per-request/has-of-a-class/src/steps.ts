import { DBOS } from '@dbos-inc/dbos-sdk';
import { FixedPool } from './fixed-pool';

export class Orders {
	@DBOS.workflow()
	static async place(): Promise<void> {
		await Orders.record();
	}

	static async record(): Promise<void> {
		const pool = new FixedPool(3); // ← here
		await pool.query('SELECT 1');
	}
}
