import { DBOS } from '@dbos-inc/dbos-sdk';
import { FixedPool } from './fixed-pool';

export class Orders {
	static readonly pool = new FixedPool(3);

	@DBOS.workflow()
	static async place(): Promise<void> {
		await Orders.record();
	}

	static async record(): Promise<void> {
		await Orders.pool.query('SELECT 1');
	}
}
