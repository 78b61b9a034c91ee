module.exports = [
	{ // ← here
		name: 'web',
		script: 'server.js',
		instances: 3
	}
];
