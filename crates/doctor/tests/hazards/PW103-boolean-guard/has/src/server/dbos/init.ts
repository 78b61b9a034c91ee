import { DBOS } from '@dbos-inc/dbos-sdk';

let launched = false;

export async function ensureDbosLaunched(): Promise<void> {
	if (launched) return; // ← here
	DBOS.setConfig({ name: 'shop', runMigrations: false });
	await DBOS.launch();
	launched = true;
}
