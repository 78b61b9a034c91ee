import { Pool } from 'pg';

const pool = new Pool({ connectionTimeoutMillis: 1000 });
await pool.query('SELECT 1');
await pool.end();
