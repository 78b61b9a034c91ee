import { DBOS } from '@dbos-inc/dbos-sdk';

let launching: Promise<void> | undefined;

export function launchDbos(): Promise<void> {
	return (launching ??= DBOS.launch());
}
