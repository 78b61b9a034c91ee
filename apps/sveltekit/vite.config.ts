import adapter from '@sveltejs/adapter-node';
import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vite';

// `pg`, the Prisma runtime and the DBOS SDK stay external, in development because Vite never
// bundles dependencies for the server, in a build because adapter-node externalises what
// package.json lists under `dependencies`. They must: `instanceof pg.Pool`, the SDK's registry
// and its one executor are only singletons while there is one copy of each module.
export default defineConfig({
	plugins: [
		sveltekit({
			adapter: adapter(),
			// The order desk has no cookies and no session, so a foreign origin has nothing to ride
			// on. The check would only refuse honest clients that send no `Origin` header.
			csrf: { trustedOrigins: ['*'] }
		})
	]
});
