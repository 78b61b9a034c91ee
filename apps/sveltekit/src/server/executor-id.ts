/**
 * This process's hold on its executor id: had before anything is opened, kept to the end of the process.
 *
 * **PM2's reload of a cluster overlaps**: the successor runs under the same id while its predecessor serves,
 * and PM2 stops the predecessor only when the successor says `ready`. So a successor that finds its own
 * predecessor in possession says `ready` first, waits for it to end, and opens, launches and listens
 * only then. One at a time: PM2 would go on to the next worker at that word, and stop the last one that
 * serves while the first new one still launches; so the word is said in turn, and the turn is over when its
 * worker serves. Any other holder is a stranger: it is waited for a short while, in case it is ending, and
 * then the launch is refused.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Channel } from './channel.ts';
import type { Environment } from './env.ts';
import { ask, described, lockName, storeOf, tryTake, type Holder, type Lock, type Watched } from './executor-lock.ts';
import { identityOf } from './identity.ts';
import { log, reason } from './log.ts';

/** The executor id is this process's. */
export interface Hold {
	/** The worker serves: in a reload of PM2, the next one's turn. */
	served(): void;
}

/** Another living process holds the executor id. */
export class ExecutorIdHeldError extends Error {
	override readonly name = 'ExecutorIdHeldError';

	constructor(executorId: string, instanceId: string, holder: Holder | undefined) {
		super(
			`executor id ${executorId} is held by ${described(holder)}, expected an id that no living process holds; ` +
				`the id follows from PM2_INSTANCE_ID, which means ${instanceId} here: where that leaks in from the ` +
				`surrounding environment, every worker gets the same id`
		);
	}
}

/** What PM2 may take, besides the drain, to stop a predecessor: its `listen_timeout` twice over. */
const PM2_STOPS_WITHIN_MS = 60_000;

/** Not cancellable; a process that is told to stop meanwhile just ends. */
export async function holdExecutorId(environment: Environment, channel: Channel): Promise<Hold> {
	const { executorId, instanceId } = identityOf(environment);
	const store = storeOf(environment.dbosSystemDatabaseUrl);
	const name = (id: string) => lockName(id, store, environment.lockNamespace);
	const us = thisProcess(channel);
	let deadline = performance.now() + environment.lockTimeoutMs;
	let turn: Turn | undefined;
	let last: Holder | undefined;
	for (;;) {
		if (await tryTake(name(executorId), us)) return { served: () => turn?.end() };
		const found = await ask(name(executorId));
		if (found) {
			if (last?.pid !== found.holder?.pid || !last) {
				log.warn('waiting for the executor id', { executor_id: executorId, held_by: described(found.holder) });
			}
			last = found.holder;
			if (!turn && isPredecessor(last, us)) {
				deadline = performance.now() + environment.drainTimeoutMs + PM2_STOPS_WITHIN_MS;
				turn = new Turn(name('web-turn'), us, () => channel.sendReady());
			}
			await untilEnded(found, deadline);
		}
		if (performance.now() >= deadline) {
			turn?.end();
			throw new ExecutorIdHeldError(executorId, instanceId, last);
		}
	}
}

/** The same process of the same PM2, one reload ago. */
function isPredecessor(holder: Holder | undefined, us: Holder): boolean {
	return us.pm2_process !== undefined && us.pm2_process === holder?.pm2_process;
}

function thisProcess({ kind }: Channel): Holder {
	const pmId = process.env['pm_id'];
	return {
		pid: process.pid,
		since: new Date().toISOString(),
		under: kind === 'none' ? 'nobody' : kind,
		...(kind === 'pm2' && pmId !== undefined ? { pm2_process: `${process.ppid}/${pmId}` } : {})
	};
}

async function untilEnded(holder: Watched, deadline: number): Promise<void> {
	const patience = new AbortController();
	const enough = pause(Math.max(0, deadline - performance.now()), undefined, { signal: patience.signal }).catch(() => {});
	await Promise.race([holder.ended, enough]);
	patience.abort();
	holder.release();
}

/** A worker's turn in a reload, waited for in the background: one worker of the fleet has it. */
class Turn {
	#over = false;
	#had: Lock | undefined;
	#others: Watched | undefined;

	constructor(name: string, us: Holder, begin: () => void) {
		this.#take(name, us, begin).catch((error: unknown) => {
			// PM2 stops the predecessor without the word as well, only later.
			log.warn('no turn in the reload', { reason: reason(error) });
		});
	}

	async #take(name: string, us: Holder, begin: () => void): Promise<void> {
		while (!this.#over) {
			const lock = await tryTake(name, us);
			if (lock) {
				if (this.#over) return lock.giveBack();
				this.#had = lock;
				return begin();
			}
			this.#others = await ask(name);
			await this.#others?.ended;
		}
	}

	end(): void {
		this.#over = true;
		this.#had?.giveBack();
		this.#others?.release();
	}
}
