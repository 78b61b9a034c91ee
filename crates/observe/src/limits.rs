//! What a server allows: the figures a plan is measured against.

use crate::connect::Error;
use poolwright_topology::budget::{Cap, CapOn, ServerLimits};
use poolwright_topology::prepare::limit_is_ours;
use poolwright_topology::units::Connections;
use sqlx::postgres::PgConnection;
use sqlx::{Row, query};

/// Reads the limits of the server behind `connection`. `others` is left at zero; the census knows it.
///
/// Cancel safe: reads only.
///
/// # Errors
/// [`Error::Query`] when the server refuses.
pub async fn limits(connection: &mut PgConnection) -> Result<ServerLimits, Error> {
    let settings = query(
        "SELECT name, setting::bigint AS setting FROM pg_settings
         WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::query("reading the server's limits"))?;
    let setting = |name: &str| {
        settings
            .iter()
            .find(|row| row.get::<&str, _>("name") == name)
            .map_or(Connections::ZERO, |row| count(row.get("setting")))
    };

    // A superuser is exempt from its role's limit; -1 is no limit.
    let caps = query(
        "SELECT 'role' AS on, rolname::text AS name, rolconnlimit::bigint AS lim,
                shobj_description(oid, 'pg_authid') AS comment
         FROM pg_roles WHERE rolconnlimit >= 0 AND NOT rolsuper
         UNION ALL
         SELECT 'database', datname::text, datconnlimit::bigint, NULL FROM pg_database
         WHERE datconnlimit >= 0
         ORDER BY 1, 2",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::query("reading the limits of roles and databases"))?
    .iter()
    .map(|row| Cap {
        on: if row.get::<&str, _>("on") == "role" {
            CapOn::Role
        } else {
            CapOn::Database
        },
        name: row.get("name"),
        limit: count(row.get("lim")),
        ours: limit_is_ours(row.get("comment")),
    })
    .collect();

    Ok(ServerLimits {
        max_connections: setting("max_connections"),
        superuser_reserved: setting("superuser_reserved_connections"),
        reserved: setting("reserved_connections"),
        others: Connections::ZERO,
        caps,
    })
}

fn count(setting: i64) -> Connections {
    Connections(u32::try_from(setting).unwrap_or(0))
}
