import express from 'express';
import { start } from './engine.js';

const app = express();
app.post('/orders', async (_request, response) => {
	await start();
	response.sendStatus(202);
});
