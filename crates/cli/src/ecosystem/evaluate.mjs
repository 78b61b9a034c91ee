/**
 * Evaluates a PM2 ecosystem file as PM2 does, and answers with what it exports, as one line of JSON on descriptor 0: nothing
 * that the file prints gets there.
 */
import { readFileSync, writeSync } from 'node:fs';
import { cpus } from 'node:os';
import { pathToFileURL } from 'node:url';
import { runInThisContext } from 'node:vm';

const file = process.argv[1];

function answer(value) {
	const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
	for (let at = 0; at < bytes.length; ) at += writeSync(0, bytes, at);
	// Whatever the file has started: it was read, that is all.
	process.exit(0);
}

async function exported() {
	// JSON as PM2 takes it, with comments and trailing commas.
	if (file.endsWith('.json')) return runInThisContext(`(${readFileSync(file, 'utf8')}\n)`, { filename: file });
	const module = await import(pathToFileURL(file).href);
	return module.default ?? module;
}

try {
	const config = await exported();
	answer({ config, cpus: cpus().length || 1 });
} catch (error) {
	const place = String(error?.stack ?? '').split('\n').find((line) => line.includes(file));
	answer({ failed: `${error?.name ?? 'Error'}: ${error?.message ?? error}`, place: place?.trim() });
}
