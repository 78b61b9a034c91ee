import { DBOS } from '@dbos-inc/dbos-sdk';
import { Pool } from 'pg';

const pool = new Pool({ max: 1, connectionTimeoutMillis: 30_000 }); // ← here
pool.on('error', () => {});

DBOS.setConfig({ name: 'shop', runMigrations: false, systemDatabasePool: pool });
await DBOS.launch();
