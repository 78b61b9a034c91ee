import { DBOS } from '@dbos-inc/dbos-sdk';

async function isDone(id: string): Promise<boolean> {
	const status = await DBOS.getWorkflowStatus(id); // ← here
	return status?.status === 'SUCCESS';
}

export const watch = DBOS.registerWorkflow(
	async (id: string) => {
		while (!(await isDone(id))) await DBOS.sleep(1000);
	},
	{ name: 'watch' }
);
