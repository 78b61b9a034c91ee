import { DBOS } from '@dbos-inc/dbos-sdk';

const EXECUTOR = Symbol.for('shop.dbos');
const globals = globalThis as { [EXECUTOR]?: Promise<void> };

export function ensureDbosLaunched(): Promise<void> {
	return (globals[EXECUTOR] ??= launch());
}

async function launch(): Promise<void> {
	DBOS.setConfig({ name: 'shop', runMigrations: false });
	await DBOS.launch();
}
