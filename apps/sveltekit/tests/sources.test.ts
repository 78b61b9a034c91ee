/** S2 and S5, proven on the sources: read with the compiler, so that a comment or a string is no call. */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FILES = globSync(['src/**/*.{ts,js,svelte}', 'scripts/**/*.mjs', '*.{js,ts,cjs}'], { cwd: ROOT }).filter(
	(file) => !file.startsWith('src/generated/')
);

interface Finding {
	readonly file: string;
	readonly what: string;
}

/** Calls and constructions by the name they were imported under, through any alias, in one source. */
function findings(file: string, text: string): Finding[] {
	const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
	const imported = new Map<string, string>();
	const found: Finding[] = [];

	const nameOf = (expression: ts.Expression): string => {
		if (ts.isIdentifier(expression)) return imported.get(expression.text) ?? expression.text;
		if (ts.isPropertyAccessExpression(expression)) return `${nameOf(expression.expression)}.${expression.name.text}`;
		if (ts.isElementAccessExpression(expression) && ts.isStringLiteralLike(expression.argumentExpression)) {
			return `${nameOf(expression.expression)}.${expression.argumentExpression.text}`;
		}
		if (ts.isParenthesizedExpression(expression) || ts.isNonNullExpression(expression) || ts.isAsExpression(expression)) {
			return nameOf(expression.expression);
		}
		return '';
	};
	const visit = (node: ts.Node): void => {
		if (ts.isImportSpecifier(node)) imported.set(node.name.text, (node.propertyName ?? node.name).text);
		// Any mention counts, not only a call: a method that is handed on is called elsewhere.
		if (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)) {
			if (/(^|\.)DBOS\.launch$/.test(nameOf(node))) found.push({ file, what: 'DBOS.launch' });
		}
		if (ts.isBindingElement(node) && (node.propertyName ?? node.name).getText(source) === 'launch') {
			found.push({ file, what: 'DBOS.launch' });
		}
		if (ts.isNewExpression(node)) {
			const name = nameOf(node.expression).split('.').at(-1) ?? '';
			if (['PrismaClient', 'Pool', 'FixedPool', 'PrismaPg'].includes(name)) found.push({ file, what: `new ${name}` });
		}
		if (ts.isHeritageClause(node)) {
			for (const { expression } of node.types) {
				if (nameOf(expression).split('.').at(-1) === 'Pool') found.push({ file, what: 'extends Pool' });
			}
		}
		ts.forEachChild(node, visit);
	};
	visit(source);
	return found;
}

function scriptsOf(file: string): string {
	const text = readFileSync(`${ROOT}${file}`, 'utf8');
	if (!file.endsWith('.svelte')) return text;
	return [...text.matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map(([, script]) => script).join('\n');
}

const all = FILES.flatMap((file) => findings(file, scriptsOf(file)));
const where = (what: string) => all.filter((finding) => finding.what === what).map(({ file }) => file);

describe('in all sources', () => {
	test('there is something to read', () => {
		expect(FILES).toEqual(expect.arrayContaining(['server.js', 'src/hooks.server.ts', 'src/routes/+page.svelte']));
	});

	test('DBOS.launch is called once, in the one init module', () => {
		expect(where('DBOS.launch')).toEqual(['src/server/dbos/init.ts']);
	});

	test('the ORM’s client is made once, in its module', () => {
		expect(where('new PrismaClient')).toEqual(['src/server/db/prisma.ts']);
		expect(where('new PrismaPg')).toEqual(['src/server/db/prisma.ts']);
	});

	test('each of the two pools is made once, in its module, and there is no third', () => {
		expect(where('new FixedPool').sort()).toEqual(['src/server/db/prisma.ts', 'src/server/dbos/init.ts']);
		expect(where('extends Pool')).toEqual(['src/server/db/fixed-pool.ts']);
		expect(where('new Pool')).toEqual([]);
	});
});

describe('the check itself', () => {
	test.each([
		["import { DBOS } from 'x'; await DBOS.launch();", 'DBOS.launch'],
		["import { DBOS as D } from 'x'; D['launch']();", 'DBOS.launch'],
		["import * as sdk from 'x'; const start = sdk.DBOS.launch;", 'DBOS.launch'],
		["import { DBOS } from 'x'; const { launch } = DBOS;", 'DBOS.launch'],
		["import pg from 'pg'; new pg.Pool({});", 'new Pool'],
		["import { Pool as P } from 'pg'; new P({});", 'new Pool'],
		["import { PrismaClient as C } from 'x'; new C({});", 'new PrismaClient']
	])('sees through %j', (text, what) => {
		expect(findings('x.ts', text).map((finding) => finding.what)).toContain(what);
	});

	test('takes neither a comment nor a string for a call', () => {
		expect(findings('x.ts', "// DBOS.launch()\nconst text = 'new Pool()';")).toEqual([]);
	});
});
