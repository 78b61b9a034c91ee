import { launchDbos } from './init';

const state = globalThis as { started?: boolean };

/** Says whether it was the first; whoever comes second awaits the same launch. */
export async function start(): Promise<boolean> {
	if (!state.started) {
		state.started = true;
		await launchDbos();
		return true;
	}
	await launchDbos();
	return false;
}
