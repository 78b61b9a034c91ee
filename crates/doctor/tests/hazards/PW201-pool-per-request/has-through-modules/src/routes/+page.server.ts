import * as db from '#server/db';

export const actions = {
	default: async () => {
		const pool = db.openPool();
		await pool.query('SELECT 1');
	}
};
