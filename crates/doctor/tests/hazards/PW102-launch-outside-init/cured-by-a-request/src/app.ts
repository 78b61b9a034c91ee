import express from 'express';
import { start } from './engine.js';

await start();
const app = express();
app.post('/orders', async (_request, response) => {
	response.sendStatus(202);
});
