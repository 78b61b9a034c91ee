import { DBOS } from '@dbos-inc/dbos-sdk';

let launching: Promise<void> | undefined;

export function ensureDbosLaunched(): Promise<void> {
	return (launching ??= launch()); // ← here
}

async function launch(): Promise<void> {
	DBOS.setConfig({ name: 'shop', runMigrations: false });
	await DBOS.launch();
}
