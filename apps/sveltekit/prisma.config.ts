import { defineConfig } from 'prisma/config';

// No datasource here: the CLI only generates the client. The schema of the database is
// `apps/schema/migrations`, plain SQL, applied by `poolwright prepare`.
export default defineConfig({ schema: 'prisma/schema.prisma' });
