import { Pool } from 'pg';

export class FixedPool extends Pool {
	constructor(max: number) {
		super({ max, min: max, connectionTimeoutMillis: 5000 });
		this.on('error', () => {});
	}
}
