import { DBOS } from '@dbos-inc/dbos-sdk';

let launching: Promise<void> | undefined;

export async function ensureDbosLaunched(): Promise<void> {
	if (launching) return launching;
	DBOS.setConfig({ name: 'shop', runMigrations: false });
	launching = DBOS.launch();
	await launching;
}
