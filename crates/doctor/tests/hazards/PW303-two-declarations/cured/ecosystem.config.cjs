const count = Number(process.env.PM2_INSTANCES ?? 3);

module.exports = {
	apps: [
		{
			name: 'web',
			script: 'server.js',
			exec_mode: 'cluster',
			instances: count,
			env: { ORM_POOL_MAX: '3' },
			kill_timeout: 35_000
		}
	]
};
