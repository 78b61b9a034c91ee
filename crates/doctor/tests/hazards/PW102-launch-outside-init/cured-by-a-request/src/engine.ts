import { DBOS } from '@dbos-inc/dbos-sdk';

export async function start(): Promise<void> {
	await DBOS.launch();
}
