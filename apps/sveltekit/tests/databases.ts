/** Fresh databases for a test file, as `poolwright prepare` would leave them, and eyes on the server. */
import { readFileSync, readdirSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject, vi } from 'vitest';

const MIGRATIONS = new URL('../../schema/migrations/', import.meta.url);

export interface Databases {
	readonly databaseUrl: string;
	readonly dbosUrl: string;
	/** A superuser's session in the order desk's database. */
	readonly admin: pg.Client;
	/** Client backends by application name, of these two databases, without the superuser's own. */
	census(): Promise<Record<string, number>>;
	drop(): Promise<void>;
}

export async function freshDatabases(): Promise<Databases> {
	const adminUrl = inject('adminUrl');
	const suffix = randomBytes(6).toString('hex');
	const [orders, dbos] = [`orders_${suffix}`, `dbos_${suffix}`];
	const root = await connected(adminUrl);
	for (const name of [orders, dbos]) await root.query(`CREATE ROLE ${name} LOGIN PASSWORD 'secret'`);
	await root.query(`CREATE DATABASE ${orders}`);
	await root.query(`CREATE DATABASE ${dbos} OWNER ${dbos}`);

	const admin = await connected(url(adminUrl, undefined, orders));
	for (const file of readdirSync(MIGRATIONS).sort()) {
		await admin.query(readFileSync(new URL(file, MIGRATIONS), 'utf8'));
	}
	await admin.query(`GRANT order_desk TO ${orders}`);

	return {
		databaseUrl: url(adminUrl, orders, orders),
		dbosUrl: url(adminUrl, dbos, dbos),
		admin,
		census: () => census(root, [orders, dbos]),
		drop: async () => {
			await admin.end();
			for (const name of [orders, dbos]) await root.query(`DROP DATABASE ${name} WITH (FORCE)`);
			for (const name of [orders, dbos]) await root.query(`DROP ROLE ${name}`);
			await root.end();
		}
	};
}

/** Puts a complete environment in place, before anything of the application reads it. */
export function useEnvironment(databases: Databases, more: Record<string, string> = {}): void {
	const environment = {
		DATABASE_URL: databases.databaseUrl,
		DBOS_SYSTEM_DATABASE_URL: databases.dbosUrl,
		PM2_INSTANCE_ID: '0',
		...more
	};
	for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
}

/** Waits until Postgres shows what is claimed. */
export function eventually(claim: () => Promise<void>): Promise<void> {
	return vi.waitFor(claim, { timeout: 10_000, interval: 20 });
}

async function census(root: pg.Client, databases: string[]): Promise<Record<string, number>> {
	const { rows } = await root.query<{ name: string; n: number }>(
		`SELECT application_name AS name, count(*)::int AS n FROM pg_stat_activity
		 WHERE backend_type = 'client backend' AND datname = ANY ($1) AND usename = ANY ($1)
		 GROUP BY 1`,
		[databases]
	);
	return Object.fromEntries(rows.map(({ name, n }) => [name, n]));
}

async function connected(connectionString: string): Promise<pg.Client> {
	const client = new pg.Client({ connectionString });
	await client.connect();
	return client;
}

function url(adminUrl: string, role: string | undefined, database: string): string {
	const result = new URL(adminUrl);
	if (role !== undefined) {
		result.username = role;
		result.password = 'secret';
	}
	result.pathname = `/${database}`;
	return result.href;
}
