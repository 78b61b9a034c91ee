import { DBOS } from '@dbos-inc/dbos-sdk';

export async function launchDbos(): Promise<void> {
	await DBOS.launch();
}
