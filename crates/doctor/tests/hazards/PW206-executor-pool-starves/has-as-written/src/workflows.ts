import { DBOS } from '@dbos-inc/dbos-sdk';

DBOS.setConfig({ name: 'shop', runMigrations: false, systemDatabasePoolSize: 3 });

export class Orders {
	@DBOS.workflow()
	static async watch(id: string): Promise<void> {
		const handle = DBOS.retrieveWorkflow(id);
		await handle.getStatus(); // ← here
	}
}
