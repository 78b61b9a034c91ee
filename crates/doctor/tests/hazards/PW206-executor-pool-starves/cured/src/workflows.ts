import { DBOS } from '@dbos-inc/dbos-sdk';

async function isDone(id: string): Promise<boolean> {
	const status = await DBOS.getWorkflowStatus(id);
	return status?.status === 'SUCCESS';
}

export const watch = DBOS.registerWorkflow(
	async (id: string) => {
		await DBOS.getResult(id);
	},
	{ name: 'watch' }
);

/** By a request, which holds no connection of the executor's meanwhile. */
export function orders(app: { get(path: string, handler: (request: { id: string }) => void): void }): void {
	app.get('/orders', async ({ id }) => isDone(id));
}
