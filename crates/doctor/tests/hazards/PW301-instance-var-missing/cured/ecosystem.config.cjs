const count = Number(process.env.PM2_INSTANCES ?? 3);

module.exports = {
	apps: [
		{
			name: 'web',
			script: 'server.js',
			exec_mode: 'cluster',
			instances: count,
			instance_var: 'PM2_INSTANCE_ID',
			kill_timeout: 35_000
		}
	]
};
