import { Pool } from 'pg';

export const makePool = () => new Pool({ connectionTimeoutMillis: 5000 }).on('error', () => {});
