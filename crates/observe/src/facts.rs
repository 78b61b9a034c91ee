//! What a server shows of the pools of a topology, as far as it can be hazardous: their roles, what applies to their
//! sessions, and their tenants' tables. Reads the catalogues only, which every role may.

use crate::connect::{Error, connect};
use poolwright_topology::budget::{database_of, role_of, server_of};
use poolwright_topology::declare::{DatabaseUrl, Pool, Topology};
use poolwright_topology::hazard::live::{PoolFacts, Settings, TENANT_COLUMNS, Table, milliseconds};
use poolwright_topology::tag::COMMAND;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row, query};
use std::collections::BTreeMap;

/// Ends idle sessions, since PostgreSQL 14.
const IDLE_SESSION: &str = "idle_session_timeout";
/// Notices that a client is gone while a query runs, since PostgreSQL 14.
const CONNECTION_CHECK: &str = "client_connection_check_interval";

/// What the server of `admin`, which `connection` leads to, shows of the pools whose URLs reach it. A pool whose role or
/// database is not there yet has nothing to show.
///
/// The tables are read over a connection of its own to each database that is no executor's: as the administrator, else
/// as the pool's role. Cancel safe: reads only.
///
/// # Errors
/// [`Error`] when the server refuses.
pub async fn facts(
    connection: &mut PgConnection,
    admin: &DatabaseUrl,
    topology: &Topology,
) -> Result<Vec<PoolFacts>, Error> {
    let configured = Configured::read(connection).await?;
    let mut facts = Vec::new();
    for (app, pool) in topology.pools() {
        if server_of(pool) != admin.server() {
            continue;
        }
        let role = role_of(pool);
        let row = query("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = $1")
            .bind(&role)
            .fetch_optional(&mut *connection)
            .await
            .map_err(Error::query("reading the pools' roles"))?;
        let Some(row) = row else { continue };
        let database = database_of(pool);
        let of_the_pool = |name| configured.of(name, &role, &database);
        facts.push(PoolFacts {
            app: app.name.to_string(),
            pool: pool.name.to_string(),
            superuser: row.get("rolsuper"),
            bypasses_rls: row.get("rolbypassrls"),
            settings: Settings {
                idle_session_ms: of_the_pool(IDLE_SESSION),
                connection_check_ms: of_the_pool(CONNECTION_CHECK),
            },
            tables: match pool.executor {
                true => Vec::new(),
                false => tables(admin, pool, topology).await?,
            },
        });
    }
    Ok(facts)
}

/// The settings of the server, its databases and its roles.
struct Configured {
    /// By name, in milliseconds.
    server: BTreeMap<String, u64>,
    /// By name, role and database; an empty one stands for all.
    special: BTreeMap<(String, String, String), u64>,
}

impl Configured {
    async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        let names = [IDLE_SESSION, CONNECTION_CHECK];
        // What applies to this session because of its own role or database is not the server's.
        let server = query(
            "SELECT name, CASE WHEN source IN ('database', 'user', 'database user', 'client', 'session')
                          THEN boot_val ELSE setting END AS setting
             FROM pg_settings WHERE name = ANY($1)",
        )
        .bind(names)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::query("reading the server's timeouts"))?;
        let special = query(
            "SELECT split_part(entry, '=', 1) AS name,
                    split_part(entry, '=', 2) AS setting,
                    coalesce(r.rolname::text, '') AS role,
                    coalesce(d.datname::text, '') AS database
             FROM pg_db_role_setting s
             CROSS JOIN unnest(s.setconfig) AS entry
             LEFT JOIN pg_roles r ON r.oid = s.setrole
             LEFT JOIN pg_database d ON d.oid = s.setdatabase
             WHERE split_part(entry, '=', 1) = ANY($1)",
        )
        .bind(names)
        .fetch_all(connection)
        .await
        .map_err(Error::query("reading the timeouts of roles and databases"))?;
        Ok(Self {
            server: server
                .iter()
                .filter_map(|row| Some((row.get("name"), milliseconds(row.get("setting"))?)))
                .collect(),
            special: special
                .iter()
                .filter_map(|row| {
                    let key = (row.get("name"), row.get("role"), row.get("database"));
                    Some((key, milliseconds(row.get("setting"))?))
                })
                .collect(),
        })
    }

    /// What applies to a role's sessions in a database; `None` for a setting that the server does not have.
    fn of(&self, name: &str, role: &str, database: &str) -> Option<u64> {
        let server = *self.server.get(name)?;
        // The more it says, the more it counts.
        let special = [(role, database), (role, ""), ("", database), ("", "")];
        let mut said = special.iter().filter_map(|(role, database)| {
            let key = (name.to_owned(), (*role).to_owned(), (*database).to_owned());
            self.special.get(&key).copied()
        });
        Some(said.next().unwrap_or(server))
    }
}

/// The tables that a pool's role may read or change.
async fn tables(
    admin: &DatabaseUrl,
    pool: &Pool,
    topology: &Topology,
) -> Result<Vec<Table>, Error> {
    let as_admin = admin.with_database(&database_of(pool));
    let mut connection = match (connect(&as_admin, COMMAND).await, &pool.url) {
        (Ok(connection), _) => connection,
        // It is made by `prepare`.
        (Err(error), _) if error.code().as_deref() == Some("3D000") => return Ok(Vec::new()),
        (Err(_), Some(own)) => connect(own, COMMAND).await?,
        (Err(error), None) => return Err(error),
    };
    let named = &topology.doctor.tenant_columns;
    let columns: Vec<String> = match named.as_slice() {
        [] => TENANT_COLUMNS.map(str::to_owned).to_vec(),
        named => named.to_vec(),
    };
    let rows = query(
        "SELECT n.nspname || '.' || c.relname AS name,
                (SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY($1)
                 ORDER BY a.attnum LIMIT 1) AS tenant_column,
                c.relrowsecurity AS protected,
                EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid) AS has_policy,
                pg_has_role($2, c.relowner, 'USAGE') AS owned
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
           AND (has_table_privilege($2, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                OR has_any_column_privilege($2, c.oid, 'SELECT, INSERT, UPDATE'))
         ORDER BY 1",
    )
    .bind(columns)
    .bind(role_of(pool))
    .fetch_all(&mut connection)
    .await
    .map_err(Error::query("reading the tables"))?;
    let tables = rows.iter().map(|row| Table {
        name: row.get("name"),
        tenant_column: row.get("tenant_column"),
        protected: row.get("protected"),
        has_policy: row.get("has_policy"),
        owned: row.get("owned"),
    });
    let tables = tables.collect();
    connection
        .close()
        .await
        .map_err(Error::query("leaving the database"))?;
    Ok(tables)
}
