const count = Number(process.env.PM2_INSTANCES ?? 3);

module.exports = {
	apps: [
		{
			name: 'web',
			script: 'server.js',
			exec_mode: 'cluster',
			instances: count,
			kill_timeout: 10_000 // ← here
		}
	]
};
