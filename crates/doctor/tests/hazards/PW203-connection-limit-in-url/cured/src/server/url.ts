export function refuseLimit(base: string): void {
	if (new URL(base).searchParams.has('connection_limit')) throw new Error('no ?connection_limit= in a URL');
}
