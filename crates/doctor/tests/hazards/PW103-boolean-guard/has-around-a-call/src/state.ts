import { launchDbos } from './init';

const state = globalThis as { started?: boolean };

export async function start(): Promise<void> {
	if (!state.started && process.env.ROLE !== 'cron') { // ← here
		state.started = true;
		await launchDbos();
	}
}
