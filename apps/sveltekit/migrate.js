/**
 * Creates or updates the DBOS schema, once, before the first worker: workers that migrate at the same
 * time deadlock each other, so they launch with `runMigrations: false`.
 *
 * Runs as the role of DBOS_SYSTEM_DATABASE_URL, which owns that database. Databases, roles and the
 * order desk's own migrations are `poolwright prepare`'s.
 */
import { DBOS } from '@dbos-inc/dbos-sdk';
import process from 'node:process';

const url = process.env.DBOS_SYSTEM_DATABASE_URL;
const protocol = URL.parse(url ?? '')?.protocol;
if (url === undefined || !/^postgres(ql)?:$/.test(protocol ?? '')) {
	// Only the scheme is shown: what follows it may hold a password.
	const found = url === undefined ? 'not set' : protocol ? `found "${protocol}…"` : 'found no URL';
	console.error(`invalid environment, 1 mistake:\n  DBOS_SYSTEM_DATABASE_URL: ${found}, expected a postgres:// URL`);
	process.exit(2);
}

try {
	await DBOS.migrate(url);
} catch (error) {
	console.error(`cannot migrate the DBOS schema: ${error instanceof Error ? error.message : String(error)}`);
	process.exit(1);
}
