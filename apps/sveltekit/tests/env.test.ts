import { describe, expect, test } from 'vitest';
import { EnvironmentError, readEnvironment, withoutPassword, type EnvironmentSource } from '#server/env.ts';

const URLS = {
	DATABASE_URL: 'postgres://app:secret@db:5432/orders',
	DBOS_SYSTEM_DATABASE_URL: 'postgresql://dbos:secret@db/dbos'
};

function refusal(source: EnvironmentSource): EnvironmentError {
	try {
		readEnvironment(source);
	} catch (error) {
		if (error instanceof EnvironmentError) return error;
		throw error;
	}
	throw new Error('the environment was accepted');
}

describe('the environment', () => {
	test('needs only the two URLs', () => {
		expect(readEnvironment(URLS)).toEqual({
			instances: 3,
			prismaPoolMax: 3,
			dbosPoolMax: 3,
			printPrismaPoolMetrics: false,
			databaseUrl: URLS.DATABASE_URL,
			dbosSystemDatabaseUrl: URLS.DBOS_SYSTEM_DATABASE_URL,
			instanceId: 0,
			host: '0.0.0.0',
			port: 3000,
			fulfilSleepMs: 1000,
			fulfilStepMs: 0,
			drainTimeoutMs: 30_000,
			lockTimeoutMs: 10_000,
			lockNamespace: '',
			signals: { traces: false, metrics: false, limited: true, metricIntervalMs: 60_000, serviceName: undefined }
		});
	});

	test.each([
		[{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, [false, false]],
		[{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, [true, true]],
		[{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector.example/v1/traces' }, [true, false]],
		[{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318', OTEL_SDK_DISABLED: 'true' }, [false, false]]
	])('exports telemetry where an endpoint is named and only then: %j', (source, expected) => {
		const { traces, metrics } = readEnvironment({ ...URLS, ...source }).signals;
		expect([traces, metrics]).toEqual(expected);
	});

	test('reports every mistake at once, in the words of the contract, and asks for exit code 2', () => {
		const error = refusal({ PM2_INSTANCES: 'three', DBOS_SYSTEM_DATABASE_URL: URLS.DBOS_SYSTEM_DATABASE_URL });
		expect(error.message).toBe(
			[
				'invalid environment, 2 mistakes:',
				'  PM2_INSTANCES: found "three", expected a whole number from 1 to 512',
				'  DATABASE_URL: not set, expected a postgres:// URL'
			].join('\n')
		);
		expect(error.exitCode).toBe(2);
	});

	test.each([
		['PM2_INSTANCES', '0'],
		['PM2_INSTANCES', '513'],
		['PM2_INSTANCES', '3.0'],
		['PM2_INSTANCES', ''],
		['PRISMA_POOL_MAX', '0'],
		['PRISMA_POOL_MAX', '1001'],
		['DBOS_POOL_MAX', '1'],
		['DBOS_POOL_MAX', '-3'],
		['PRINT_PRISMA_POOL_METRICS', 'yes'],
		['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
		['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
		['OTEL_EXPORTER_OTLP_CERTIFICATE', '/nowhere.pem'],
		['OTEL_EXPORTER_OTLP_CERTIFICATE', import.meta.filename],
		['PM2_INSTANCE_ID', '512'],
		['PORT', 'http'],
		['DATABASE_URL', 'mysql://a:secret@h/d'],
		['DATABASE_URL', 'postgres://host-only'],
		['DATABASE_URL', 'postgres://app:secret@db/orders?connection_limit=3'],
		['DBOS_SYSTEM_DATABASE_URL', 'dbos:secret@db'],
		['DBOS_SYSTEM_DATABASE_URL', 'postgres://:secret@db/x']
	])('refuses %s=%j, names it, and shows no password', (variable, value) => {
		const error = refusal({ ...URLS, [variable]: value });
		expect(error.mistakes.map((mistake) => mistake.variable)).toEqual([variable]);
		expect(error.message).toMatch(/^invalid environment, 1 mistake:\n {2}\w+: found ".*", expected /);
		expect(error.message).not.toContain('secret');
	});

	test.each([
		['true', true],
		['1', true],
		['false', false],
		['0', false]
	])('takes %s for the flag', (value, expected) => {
		expect(readEnvironment({ ...URLS, PRINT_PRISMA_POOL_METRICS: value }).printPrismaPoolMetrics).toBe(expected);
	});

	test('takes the slot from PM2_INSTANCE_ID and is not confused by NODE_APP_INSTANCE', () => {
		expect(readEnvironment({ ...URLS, PM2_INSTANCE_ID: '2', NODE_APP_INSTANCE: '7' }).instanceId).toBe(2);
		expect(readEnvironment({ ...URLS, NODE_APP_INSTANCE: '7' }).instanceId).toBe(0);
	});
});

test.each([
	['postgres://app:secret@db/x', 'postgres://app:***@db/x'],
	['postgres://app:se@cr/et@db/x', 'postgres://app:***@db/x'],
	['app:secret@db', 'app:***@db'],
	['postgres://db/x?user=a&password=secret&b=1', 'postgres://db/x?user=a&password=***&b=1'],
	['three', 'three']
])('%s is shown as %s', (text, shown) => {
	expect(withoutPassword(text)).toBe(shown);
});
