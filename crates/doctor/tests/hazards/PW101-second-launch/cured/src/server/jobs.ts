import { ensureDbosLaunched } from './dbos/init';

/** DBOS.launch() in a comment is none. */
export async function startJobs(): Promise<void> {
	await ensureDbosLaunched();
	console.log('DBOS.launch() is over');
}
