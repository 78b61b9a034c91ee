/**
 * A refusal for a limit, with whoever holds what the limit allows.
 *
 * Postgres says 53300 for a role's `CONNECTION LIMIT` and for a server that is full, and not who is in the way. Any
 * connection that this process still has can be asked: names of sessions are visible to every role.
 */
import type { ClientBase } from 'pg';
import { reason } from '../log.ts';

const TOO_MANY_CONNECTIONS = '53300';
/**
 * The part of Postgres that refuses for a role's limit; the server's own is reached elsewhere. The message says it too, in the
 * server's language; a pooler in between may not say it at all.
 */
const REFUSES_ROLES = 'InitializeSessionUserId';
/** As many as fit into a line that somebody reads. */
const NAMED = 8;

interface Held {
	readonly role: string;
	/** The role's own limit; -1 is none. */
	readonly limit: number;
	/** The server's limit. */
	readonly server: number;
	readonly byRole: number;
	readonly all: number;
	/** Whether it is the role's limit that is reached. */
	readonly ofRole: boolean;
	/** Sessions by name, most first: of the role if it is its limit, else of everybody. */
	readonly holders: readonly { readonly name: string; readonly sessions: number }[];
}

const HELD = `
WITH sessions AS (
	SELECT usename AS role, coalesce(nullif(application_name, ''), '(no name)') AS name
	FROM pg_stat_activity
	WHERE usename IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker'
), counted AS (
	SELECT rolname AS role, rolconnlimit AS "limit", current_setting('max_connections')::int AS server,
		(SELECT count(*)::int FROM sessions WHERE sessions.role = rolname) AS "byRole",
		(SELECT count(*)::int FROM sessions) AS "all"
	FROM pg_roles WHERE rolname = session_user
), self AS (
	-- What is counted may have changed since the refusal, and a session that was on its way in or out is counted by nobody but the limit.
	SELECT *, "limit" >= 0 AND ($1 OR "byRole" >= "limit") AS "ofRole" FROM counted
), holders AS (
	SELECT sessions.name, count(*)::int AS sessions
	FROM sessions, self
	WHERE sessions.role = self.role OR NOT self."ofRole"
	GROUP BY 1 ORDER BY 2 DESC, 1
)
SELECT self.*, (SELECT json_agg(holders) FROM holders) AS holders FROM self`;

/** Whether Postgres refused a connection because there are as many as a limit allows. */
export function isLimitReached(error: unknown): error is Error {
	return error instanceof Error && 'code' in error && error.code === TOO_MANY_CONNECTIONS;
}

/**
 * The same error with role, limit and holders in its message, if `client` can be asked for them; any other error as it is.
 * Never throws.
 */
export async function withHolders(error: unknown, client: ClientBase | undefined): Promise<unknown> {
	if (!isLimitReached(error)) return error;
	const refusesRole = 'routine' in error && error.routine === REFUSES_ROLES;
	const held = await client?.query<Held>(HELD, [refusesRole]).then(
		({ rows }) => rows[0],
		() => undefined
	);
	const said = `${reason(error)} (${TOO_MANY_CONNECTIONS})`;
	const words = held ? `${said}: ${inWords(held)}` : `${said}; no connection is left to ask who holds them`;
	return Object.assign(new Error(words, { cause: error }), { code: TOO_MANY_CONNECTIONS });
}

function inWords({ role, limit, server, byRole, all, ofRole, holders }: Held): string {
	const named = holders.slice(0, NAMED).map(({ name, sessions }) => `${name} ${sessions}`);
	if (holders.length > NAMED) named.push(`${holders.length - NAMED} more`);
	const who = named.join(', ');
	return ofRole
		? `the role "${role}" has ${byRole} of at most ${limit} connections, held by ${who}`
		: `the server has ${all} of at most ${server} connections, held by ${who}`;
}
