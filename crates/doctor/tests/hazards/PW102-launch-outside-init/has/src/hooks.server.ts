import { DBOS } from '@dbos-inc/dbos-sdk';

const LAUNCHED = Symbol.for('shop.dbos');

export const init = async () => {
	await ((globalThis as Record<symbol, Promise<void>>)[LAUNCHED] ??= DBOS.launch()); // ← here
};
