-- The order desk: tenants place orders, a durable workflow fulfils them.
--
-- Runs as the owner of the database (`ADMIN_DATABASE_URL`). The application's login role is a
-- member of the group role `order_desk`; it owns nothing and cannot bypass row-level security.

-- Roles belong to the server, not to the database: another database of the same server may be
-- migrated at this very moment, so the loser of that race takes the winner's role.
DO $$
BEGIN
    CREATE ROLE order_desk NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- The tenant of the running transaction, or NULL when none was set: NULL equals nothing, so a
-- query without a tenant sees no rows. `set_config(…, true)` resets the setting to '' at the end
-- of the transaction, which has to mean the same as never set.
CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('app.tenant_id', true), '')::uuid;

CREATE TABLE orders (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    item         text NOT NULL CHECK (length(item) BETWEEN 1 AND 200),
    quantity     integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    status       text NOT NULL DEFAULT 'placed'
                 CHECK (status IN ('placed', 'reserved', 'charged', 'shipped')),
    workflow_id  text NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_by_tenant ON orders (tenant_id, created_at DESC, id);

-- One row for every step that ran, written by the step itself: a step that ran twice is two rows.
-- No uniqueness here on purpose, it would hide what the table exists to show.
CREATE TABLE effects (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    uuid NOT NULL DEFAULT current_tenant(),
    order_id     uuid NOT NULL REFERENCES orders (id),
    step         text NOT NULL,
    executor_id  text NOT NULL,
    pid          integer NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX effects_by_order ON effects (order_id, id);

ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
ALTER TABLE effects ENABLE ROW LEVEL SECURITY;
ALTER TABLE effects FORCE ROW LEVEL SECURITY;

CREATE POLICY orders_of_tenant ON orders
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY effects_of_tenant ON effects
    USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());

GRANT USAGE ON SCHEMA public TO order_desk;
GRANT SELECT, INSERT ON orders TO order_desk;
GRANT UPDATE (status) ON orders TO order_desk;
GRANT SELECT, INSERT ON effects TO order_desk;
