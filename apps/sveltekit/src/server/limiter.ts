/** Lets at most `limit` pieces of work run at once; the others wait in the order they came. */
export class Limiter {
	#running = 0;
	readonly #waiting: (() => void)[] = [];

	constructor(private readonly limit: number) {}

	async run<T>(work: () => Promise<T>): Promise<T> {
		if (this.#running >= this.limit) {
			await new Promise<void>((resolve) => this.#waiting.push(resolve));
		} else {
			this.#running += 1;
		}
		try {
			return await work();
		} finally {
			// The place is handed on, not given back: a newcomer must not slip in before who waits.
			const next = this.#waiting.shift();
			if (next) next();
			else this.#running -= 1;
		}
	}
}
