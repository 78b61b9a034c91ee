/**
 * The environment of a worker, read once and checked whole.
 *
 * Every mistake is reported in one go, so that a deployment is corrected once and not variable
 * by variable. Downstream nothing checks again.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** What the process runs with, after validation. Durations are milliseconds. */
export interface Environment {
	/** Workers of the fleet, for the record: this process is one of them. */
	readonly instances: number;
	readonly prismaPoolMax: number;
	readonly dbosPoolMax: number;
	readonly printPrismaPoolMetrics: boolean;
	readonly databaseUrl: string;
	readonly dbosSystemDatabaseUrl: string;
	/** The slot's number, 0 where no process manager gave one. */
	readonly instanceId: number;
	readonly host: string;
	readonly port: number;
	readonly fulfilSleepMs: number;
	readonly fulfilStepMs: number;
	readonly drainTimeoutMs: number;
	/** How long to wait for another process to let go of the executor id. */
	readonly lockTimeoutMs: number;
	/** Sets the locks of executor ids apart, for tests that need an intruder. */
	readonly lockNamespace: string;
	readonly signals: Signals;
}

/** What is exported by OTLP. Where to and with which headers, the SDK reads from its own variables. */
export interface Signals {
	/** Whether there is an endpoint for traces. */
	readonly traces: boolean;
	/** Whether there is one for metrics. */
	readonly metrics: boolean;
	/** Whether the traces that begin here are limited in number: no sampler is named. */
	readonly limited: boolean;
	readonly metricIntervalMs: number;
	/** What the service is called in place of its app's name. */
	readonly serviceName: string | undefined;
}

/** Where variables come from: `process.env`, or a literal in a test. */
export type EnvironmentSource = Readonly<Record<string, string | undefined>>;

/** One variable that is wrong: what was found (undefined: nothing) and what would be right. */
export interface EnvironmentMistake {
	readonly variable: string;
	readonly found: string | undefined;
	readonly expected: string;
}

/** All mistakes of an environment. The process ends with `exitCode` before it opens anything. */
export class EnvironmentError extends Error {
	override readonly name = 'EnvironmentError';
	readonly exitCode = 2;

	constructor(readonly mistakes: readonly EnvironmentMistake[]) {
		const count = `${mistakes.length} ${mistakes.length === 1 ? 'mistake' : 'mistakes'}`;
		super([`invalid environment, ${count}:`, ...mistakes.map((m) => `  ${describe(m)}`)].join('\n'));
	}
}

function describe({ variable, found, expected }: EnvironmentMistake): string {
	const what = found === undefined ? 'not set' : `found ${JSON.stringify(withoutPassword(found))}`;
	return `${variable}: ${what}, expected ${expected}`;
}

/**
 * The text with everything between user and the last `@` masked. It works on any text, because a
 * URL that does not parse may still hold a password.
 */
export function withoutPassword(text: string): string {
	return text
		.replace(/^([a-z][a-z0-9+.-]*:\/\/)?([^:@/]*):.*@/is, '$1$2:***@')
		.replace(/([?&](?:ssl)?password=)[^&]*/gi, '$1***');
}

/** Reads and checks every variable of the contract, or throws one {@link EnvironmentError}. */
export function readEnvironment(source: EnvironmentSource): Environment {
	const read = new Reader(source);
	const environment: Environment = {
		instances: read.wholeNumber('PM2_INSTANCES', 3, 1, 512),
		prismaPoolMax: read.wholeNumber('PRISMA_POOL_MAX', 3, 1, 1000),
		// DBOS pins one connection for LISTEN: with a pool of 1 the launch would hang for ever.
		dbosPoolMax: read.wholeNumber('DBOS_POOL_MAX', 3, 2, 1000),
		printPrismaPoolMetrics: read.flag('PRINT_PRISMA_POOL_METRICS', false),
		databaseUrl: read.postgresUrl('DATABASE_URL', 'PRISMA_POOL_MAX'),
		dbosSystemDatabaseUrl: read.postgresUrl('DBOS_SYSTEM_DATABASE_URL', 'DBOS_POOL_MAX'),
		instanceId: read.wholeNumber('PM2_INSTANCE_ID', 0, 0, 511),
		host: read.text('HOST', '0.0.0.0', 'a host name or address'),
		port: read.wholeNumber('PORT', 3000, 0, 65535),
		fulfilSleepMs: read.wholeNumber('FULFIL_SLEEP_MS', 1000, 0, ONE_DAY_MS),
		fulfilStepMs: read.wholeNumber('FULFIL_STEP_MS', 0, 0, ONE_DAY_MS),
		drainTimeoutMs: read.wholeNumber('DRAIN_TIMEOUT_MS', 30_000, 0, ONE_DAY_MS),
		// Longer than a process that is ending takes, shorter than both process managers wait for a worker.
		lockTimeoutMs: read.wholeNumber('POOLWRIGHT_LOCK_TIMEOUT_MS', 10_000, 0, ONE_DAY_MS),
		lockNamespace: source['POOLWRIGHT_LOCK_NAMESPACE'] ?? '',
		signals: signals(read, source)
	};
	if (read.mistakes.length > 0) throw new EnvironmentError(read.mistakes);
	return environment;
}

/** OpenTelemetry's variables; one that is empty means nothing. */
function signals(read: Reader, source: EnvironmentSource): Signals {
	const disabled = source['OTEL_SDK_DISABLED']?.toLowerCase() === 'true';
	const common = read.endpoint('OTEL_EXPORTER_OTLP_ENDPOINT');
	const traces = read.endpoint('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT');
	const metrics = read.endpoint('OTEL_EXPORTER_OTLP_METRICS_ENDPOINT');
	read.certificates('OTEL_EXPORTER_OTLP_CERTIFICATE');
	for (const signal of ['', 'TRACES_', 'METRICS_']) {
		read.oneOf(`OTEL_EXPORTER_OTLP_${signal}PROTOCOL`, 'http/protobuf');
	}
	return {
		traces: (common || traces) && !disabled,
		metrics: (common || metrics) && !disabled,
		limited: !source['OTEL_TRACES_SAMPLER'],
		metricIntervalMs: read.wholeNumber('OTEL_METRIC_EXPORT_INTERVAL', 60_000, 1, ONE_DAY_MS),
		serviceName: source['OTEL_SERVICE_NAME'] || undefined
	};
}

const ENVIRONMENT = Symbol.for('order-desk.environment');
const globals = globalThis as { [ENVIRONMENT]?: Environment };

/** The environment of this process, read at the first call and the same ever after. */
export function environment(): Environment {
	return (globals[ENVIRONMENT] ??= readEnvironment(process.env));
}

/** Nothing in the order desk waits longer; setTimeout would overflow after 24 days. */
const ONE_DAY_MS = 86_400_000;

class Reader {
	readonly mistakes: EnvironmentMistake[] = [];

	constructor(private readonly source: EnvironmentSource) {}

	wholeNumber(variable: string, fallback: number, min: number, max: number): number {
		const found = this.source[variable];
		if (found === undefined) return fallback;
		const value = /^\d{1,9}$/.test(found) ? Number(found) : Number.NaN;
		if (value >= min && value <= max) return value;
		return this.refuse(variable, `a whole number from ${min} to ${max}`, fallback);
	}

	flag(variable: string, fallback: boolean): boolean {
		const found = this.source[variable];
		if (found === undefined) return fallback;
		if (found === 'true' || found === '1') return true;
		if (found === 'false' || found === '0') return false;
		return this.refuse(variable, 'true, false, 1 or 0', fallback);
	}

	text(variable: string, fallback: string, expected: string): string {
		const found = this.source[variable];
		if (found === undefined) return fallback;
		if (found.trim() !== '') return found;
		return this.refuse(variable, expected, fallback);
	}

	postgresUrl(variable: string, poolVariable: string): string {
		const found = this.source[variable];
		if (found === undefined) return this.refuse(variable, 'a postgres:// URL', '');
		const url = URL.parse(found);
		if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) {
			return this.refuse(variable, 'a postgres:// URL', '');
		}
		if (url.hostname === '' || url.username === '' || url.pathname.length < 2) {
			return this.refuse(variable, 'a postgres:// URL with host, user and database', '');
		}
		if (url.searchParams.has('connection_limit')) {
			const expected = `a postgres:// URL without connection_limit, which is ignored (set ${poolVariable})`;
			return this.refuse(variable, expected, '');
		}
		return found;
	}

	/** Whether an endpoint is set. */
	endpoint(variable: string): boolean {
		const found = this.source[variable];
		if (found === undefined || found === '') return false;
		if (/^https?:$/.test(URL.parse(found)?.protocol ?? '')) return true;
		return this.refuse(variable, 'an http:// or https:// URL', false);
	}

	/** Refuses a file without certificates; which of them are trusted, the SDK reads by itself. */
	certificates(variable: string): void {
		const found = this.source[variable];
		if (found === undefined || found === '') return;
		try {
			// As text: TLS takes no others, and a binary certificate is none then.
			new X509Certificate(readFileSync(found, 'utf8'));
		} catch {
			this.refuse(variable, 'a file of PEM certificates', undefined);
		}
	}

	/** Refuses anything but the one value, or none. */
	oneOf(variable: string, value: string): void {
		const found = this.source[variable];
		if (found !== undefined && found !== '' && found !== value) this.refuse(variable, value, undefined);
	}

	private refuse<T>(variable: string, expected: string, placeholder: T): T {
		this.mistakes.push({ variable, found: this.source[variable], expected });
		return placeholder;
	}
}
