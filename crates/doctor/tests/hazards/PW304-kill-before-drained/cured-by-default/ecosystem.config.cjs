module.exports = [
	{
		name: 'web',
		script: 'server.js',
		instances: 3,
		kill_timeout: '35000'
	}
];
