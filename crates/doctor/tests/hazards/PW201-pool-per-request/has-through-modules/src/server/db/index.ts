export { open as openPool } from './pool.js';
