import * as db from '#server/db';

export const actions = {
	default: async () => {
		await db.pool().query('SELECT 1');
	}
};
