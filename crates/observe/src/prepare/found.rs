//! What a server has of what a topology needs: roles, databases, rights, migrations. Reads only.

use crate::connect::{Error, connect};
use poolwright_topology::budget::{database_of, role_of};
use poolwright_topology::declare::{DatabaseUrl, Topology};
use poolwright_topology::prepare::{
    Attribute, Found, FoundDatabase, FoundRole, MONITOR_GROUPS, Pending, is_made,
};
use poolwright_topology::tag::COMMAND;
use poolwright_topology::units::Connections;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row, query};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The columns of `pg_roles` that say what a role is exempt from.
const ATTRIBUTES: [(&str, Attribute); 5] = [
    ("rolsuper", Attribute::Superuser),
    ("rolcreatedb", Attribute::CreateDb),
    ("rolcreaterole", Attribute::CreateRole),
    ("rolreplication", Attribute::Replication),
    ("rolbypassrls", Attribute::BypassRls),
];

/// What `topology` finds on the server of `admin`, which `connection` leads to; its migrations apart.
pub(super) async fn read(
    connection: &mut PgConnection,
    admin: &DatabaseUrl,
    topology: &Topology,
) -> Result<Found, Error> {
    let pools = || {
        topology
            .pools()
            .map(|(_, pool)| pool)
            .filter(|pool| pool.url.as_ref().is_some_and(|url| url.same_server(admin)))
    };
    let monitor = topology.enforce.as_ref().map(|e| e.monitor.role.clone());
    let names: Vec<String> = pools().map(role_of).chain(monitor).collect();
    let wanted: BTreeSet<String> = pools().map(database_of).collect();
    let groups: Vec<String> = pools()
        .flat_map(|pool| pool.member_of.iter().cloned())
        .chain(MONITOR_GROUPS.map(str::to_owned))
        .collect();
    let mut databases = databases(connection, &wanted, &names).await?;
    if topology.enforce.is_some() {
        for database in &mut databases {
            // Of others' databases nothing is taken, so nothing is asked.
            if is_made(database.comment.as_deref()) {
                database.public_creates = public_creates(admin, &database.name).await?;
            }
        }
    }
    Ok(Found {
        checks_connections: checks_connections(connection).await?,
        roles: roles(connection, &names).await?,
        memberships: memberships(connection, &names, &groups).await?,
        databases,
        pending: Vec::new(),
    })
}

/// The migrations of the pools' folders below `base` that these databases do not have.
pub(super) async fn pending(
    admin: &DatabaseUrl,
    topology: &Topology,
    databases: &[FoundDatabase],
    base: &Path,
) -> Result<Vec<Pending>, Error> {
    let pools = topology
        .pools()
        .map(|(_, pool)| pool)
        .filter(|pool| pool.url.as_ref().is_some_and(|url| url.same_server(admin)));
    let mut pending: Vec<Pending> = Vec::new();
    for pool in pools {
        let Some(folder) = &pool.migrations else {
            continue;
        };
        let database = database_of(pool);
        if pending
            .iter()
            .any(|one| one.database == database && one.folder == *folder)
        {
            continue;
        }
        let there = databases.iter().any(|one| one.name == database);
        let url = there.then(|| admin.with_database(&database));
        pending.push(Pending {
            count: missing(url.as_ref(), &base.join(folder)).await?,
            folder: folder.clone(),
            database,
        });
    }
    Ok(pending)
}

async fn roles(connection: &mut PgConnection, names: &[String]) -> Result<Vec<FoundRole>, Error> {
    // A default of privileges has an owner too, and protects nothing. Others' backend types may be hidden.
    let rows = query(
        "SELECT rolname::text AS name, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
                rolconnlimit AS lim,
                (SELECT split_part(setting, '=', 2) FROM unnest(rolconfig) AS setting
                 WHERE setting LIKE 'client\\_connection\\_check\\_interval=%') AS connection_check,
                shobj_description(oid, 'pg_authid') AS comment,
                (SELECT count(*) FROM pg_shdepend
                 WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid AND deptype = 'o'
                 AND classid <> 'pg_default_acl'::regclass) AS owns,
                (SELECT count(*) FROM pg_stat_activity
                 WHERE usesysid = r.oid AND coalesce(backend_type, 'client backend') = 'client backend') AS sessions
         FROM pg_roles r WHERE rolname = ANY($1) ORDER BY rolname",
    )
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(Error::query("reading the roles"))?;
    Ok(rows.iter().map(role).collect())
}

fn role(row: &PgRow) -> FoundRole {
    let number = |column: &str| u32::try_from(row.get::<i64, _>(column)).unwrap_or(u32::MAX);
    FoundRole {
        name: row.get("name"),
        attributes: ATTRIBUTES
            .into_iter()
            .filter(|(column, _)| row.get(*column))
            .map(|(_, attribute)| attribute)
            .collect(),
        // -1 is no limit.
        limit: u32::try_from(row.get::<i32, _>("lim"))
            .ok()
            .map(Connections),
        connection_check: row.get("connection_check"),
        comment: row.get("comment"),
        owns: u64::from(number("owns")),
        sessions: Connections(number("sessions")),
    }
}

async fn memberships(
    connection: &mut PgConnection,
    members: &[String],
    groups: &[String],
) -> Result<BTreeSet<(String, String)>, Error> {
    let rows = query(
        "SELECT m.rolname::text, g.rolname::text FROM pg_roles m, pg_roles g
         WHERE m.rolname = ANY($1) AND g.rolname = ANY($2) AND pg_has_role(m.oid, g.oid, 'MEMBER')",
    )
    .bind(members)
    .bind(groups)
    .fetch_all(connection)
    .await
    .map_err(Error::query("reading the memberships of the roles"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn databases(
    connection: &mut PgConnection,
    wanted: &BTreeSet<String>,
    roles: &[String],
) -> Result<Vec<FoundDatabase>, Error> {
    let wanted: Vec<&String> = wanted.iter().collect();
    let rows = query(
        "SELECT datname::text AS name, pg_get_userbyid(datdba)::text AS owner,
                shobj_description(oid, 'pg_database') AS comment,
                has_database_privilege('public', oid, 'CONNECT') AS public_connects,
                ARRAY(SELECT r.rolname::text
                      FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
                      JOIN pg_roles r ON r.oid = acl.grantee
                      WHERE acl.privilege_type = 'CONNECT' AND r.rolname = ANY($2)) AS connects
         FROM pg_database WHERE datname = ANY($1) ORDER BY datname",
    )
    .bind(wanted)
    .bind(roles)
    .fetch_all(connection)
    .await
    .map_err(Error::query("reading the databases"))?;
    Ok(rows
        .iter()
        .map(|row| FoundDatabase {
            name: row.get("name"),
            owner: row.get("owner"),
            comment: row.get("comment"),
            public_connects: row.get("public_connects"),
            public_creates: false,
            connects: row.get::<Vec<String>, _>("connects").into_iter().collect(),
        })
        .collect())
}

async fn public_creates(admin: &DatabaseUrl, database: &str) -> Result<bool, Error> {
    let doing = || {
        Error::query(format!(
            "reading the rights on the schema public of \"{database}\""
        ))
    };
    let mut connection = connect(&admin.with_database(database), COMMAND).await?;
    let creates: bool = query(
        "SELECT coalesce((SELECT has_schema_privilege('public', oid, 'CREATE')
                          FROM pg_namespace WHERE nspname = 'public'), false)",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(doing())?
    .get(0);
    connection.close().await.map_err(doing())?;
    Ok(creates)
}

/// The setting came with PostgreSQL 14, and is refused where the system cannot tell that a socket was closed.
async fn checks_connections(connection: &mut PgConnection) -> Result<bool, Error> {
    let doing = || Error::query("asking for client_connection_check_interval");
    let mut attempt = connection.begin().await.map_err(doing())?;
    let set = query("SELECT set_config('client_connection_check_interval', '1000', true)")
        .execute(&mut *attempt)
        .await;
    attempt.rollback().await.map_err(doing())?;
    match set {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(doing()(error)),
    }
}

/// The migrations of a folder.
pub(super) async fn migrator(folder: &Path) -> Result<Migrator, Error> {
    Migrator::new(PathBuf::from(folder))
        .await
        .map_err(|source| migrating(folder, source))
}

pub(super) fn migrating(folder: &Path, source: MigrateError) -> Error {
    Error::Migrate {
        folder: folder.display().to_string(),
        source: Box::new(source),
    }
}

/// How many migrations of a folder a database does not have; all, where there is no database yet.
async fn missing(database: Option<&DatabaseUrl>, folder: &Path) -> Result<usize, Error> {
    let migrator = migrator(folder).await?;
    let all = migrator.iter().count();
    let Some(url) = database else {
        return Ok(all);
    };
    let doing = || Error::query("reading the applied migrations");
    let mut connection = connect(url, COMMAND).await?;
    let there: bool = query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut connection)
        .await
        .map_err(doing())?
        .get(0);
    if !there {
        return Ok(all);
    }
    let applied: Vec<i64> = query("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(&mut connection)
        .await
        .map_err(doing())?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let missing = migrator
        .iter()
        .filter(|migration| !applied.contains(&migration.version))
        .count();
    if missing == 0 {
        // Applies nothing then, and refuses migrations that were changed after they were applied.
        migrator
            .run(&mut connection)
            .await
            .map_err(|source| migrating(folder, source))?;
    }
    connection.close().await.map_err(doing())?;
    Ok(missing)
}
