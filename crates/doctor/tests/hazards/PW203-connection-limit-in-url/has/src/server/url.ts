/** What a limit in a URL is good for: nothing. `?connection_limit=5` is ignored. */
export function limited(base: string, limit: number): string {
	const url = new URL(base);
	url.searchParams.set('connection_limit', String(limit)); // ← here
	return url.href;
}

export const test = `${process.env.DATABASE_URL}?connection_limit=${1}`; // ← here
