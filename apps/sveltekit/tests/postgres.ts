/**
 * A Postgres for the tests: the server of TEST_ADMIN_DATABASE_URL (a superuser), else one of our own that
 * lives as long as the run. It refuses to run as root, so root starts it as the user `postgres`.
 */
import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
	interface ProvidedContext {
		adminUrl: string;
	}
}

const INSTALLATIONS = '/usr/lib/postgresql';

export default async function setup(project: TestProject): Promise<(() => void) | void> {
	const given = process.env['TEST_ADMIN_DATABASE_URL'];
	if (given) {
		project.provide('adminUrl', given);
		return;
	}
	const bin = newestInstallation();
	const port = await freePort();
	const directory = mkdtempSync(join(tmpdir(), 'order-desk-pg-'));
	const data = join(directory, 'data');
	if (isRoot()) chownSync(directory, Number(asPostgres('id', ['-u'])), -1);
	const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${directory} -c fsync=off`;
	asPostgres(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync']);
	asPostgres(join(bin, 'pg_ctl'), ['-D', data, '-l', join(directory, 'server.log'), '-o', settings, '-w', 'start']);
	project.provide('adminUrl', `postgres://postgres@127.0.0.1:${port}/postgres`);
	return () => {
		asPostgres(join(bin, 'pg_ctl'), ['-D', data, '-m', 'immediate', '-w', 'stop']);
		rmSync(directory, { recursive: true });
	};
}

function newestInstallation(): string {
	const versions = readdirSync(INSTALLATIONS).map(Number).filter(Number.isInteger);
	if (versions.length === 0) {
		throw new Error(`no Postgres in ${INSTALLATIONS}, expected one there or a URL in TEST_ADMIN_DATABASE_URL`);
	}
	return join(INSTALLATIONS, String(Math.max(...versions)), 'bin');
}

function isRoot(): boolean {
	return process.getuid?.() === 0;
}

function asPostgres(program: string, args: string[]): string {
	const [command, ...rest] = isRoot() ? ['runuser', '-u', 'postgres', '--', program, ...args] : [program, ...args];
	// Its working directory must be one that the other user may enter; the server keeps stdio open.
	return execFileSync(command!, rest, { cwd: '/', stdio: ['ignore', program === 'id' ? 'pipe' : 'ignore', 'inherit'] })?.toString() ?? '';
}

async function freePort(): Promise<number> {
	const server = createServer().listen(0, '127.0.0.1');
	await new Promise((resolve) => server.once('listening', resolve));
	const { port } = server.address() as AddressInfo;
	await new Promise((resolve) => server.close(resolve));
	return port;
}
