export { pool } from './pool.js';
