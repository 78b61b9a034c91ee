module.exports = {
	apps: [
		{
			name: 'app',
			script: 'app.js',
			exec_mode: 'cluster',
			instances: 3,
			wait_ready: true,
			listen_timeout: 20_000,
			kill_timeout: 10_000,
			env: { PORT: process.env.PORT ?? 3000 },
			// What Poolwright has to be told. PM2 passes over it.
			poolwright: {
				pools: {
					dbos: {
						max: { env: 'DBOS_POOL_MAX', default: 3 },
						url: { env: 'DBOS_SYSTEM_DATABASE_URL' },
						executor: true
					}
				}
			}
		}
	],
	poolwright: { prepare: { url: { env: 'ADMIN_DATABASE_URL' } } }
};
