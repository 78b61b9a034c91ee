import { DBOS } from '@dbos-inc/dbos-sdk';

const config = {
	name: 'shop',
	applicationVersion: '1',
	runMigrations: false,
	executorID: 'web-0' // ← here
};

const EXECUTOR = Symbol.for('shop.dbos');
const globals = globalThis as { [EXECUTOR]?: Promise<void> };

export function ensureDbosLaunched(): Promise<void> {
	return (globals[EXECUTOR] ??= launch());
}

async function launch(): Promise<void> {
	DBOS.setConfig(config);
	await DBOS.launch();
}
