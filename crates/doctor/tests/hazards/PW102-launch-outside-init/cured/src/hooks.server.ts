import { ensureDbosLaunched } from '$lib/../server/dbos/init';

export const init = async () => {
	await ensureDbosLaunched();
};
