//! Who holds the connections when Postgres refuses one for a limit.
//!
//! Postgres says 53300 for a role's `CONNECTION LIMIT` and for a server that is full, and not who is in the way. Any
//! connection that is still there can be asked: the names of sessions are visible to every role.

use sqlx::postgres::{PgConnection, PgDatabaseError, PgRow};
use sqlx::{FromRow, Row};

/// SQLSTATE `too_many_connections`.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The part of Postgres that refuses for a role's limit; the server's own is reached elsewhere. The message says it too, in
/// the server's language.
const REFUSES_ROLES: &str = "InitializeSessionUserId";

/// As many as fit into a line that somebody reads.
const NAMED: usize = 8;

const HELD: &str = "\
    SELECT rolname, rolconnlimit, current_setting('max_connections')::int4 AS server \
    FROM pg_roles WHERE rolname = session_user";

const SESSIONS: &str = "\
    SELECT coalesce(nullif(application_name, ''), '(no name)') AS name, \
        usename = session_user AS ours, count(*)::int4 AS sessions \
    FROM pg_stat_activity \
    WHERE usename IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker' \
    GROUP BY 1, 2 ORDER BY 3 DESC, 1";

/// Sessions of one name and role.
struct Holder {
    name: String,
    /// Of the role that asks.
    ours: bool,
    sessions: i32,
}

impl FromRow<'_, PgRow> for Holder {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            ours: row.try_get("ours")?,
            sessions: row.try_get("sessions")?,
        })
    }
}

/// Whether Postgres refused a connection because there are as many as a limit allows.
pub(super) fn is_reached(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some(TOO_MANY_CONNECTIONS)
}

/// Whether that limit is the role's. (A pooler in between may not say so.)
fn is_of_role(error: &sqlx::Error) -> bool {
    let refusal = error.as_database_error();
    let refusal = refusal.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refusal.and_then(PgDatabaseError::routine) == Some(REFUSES_ROLES)
}

/// The limit that `refusal` is for and who holds what it allows, in words; nothing where the server does not say. The connection
/// cannot be used any more when this is cancelled.
pub(super) async fn holders(
    connection: &mut PgConnection,
    refusal: &sqlx::Error,
) -> Option<String> {
    let limits = sqlx::query(HELD).fetch_one(&mut *connection).await.ok()?;
    let role: String = limits.try_get("rolname").ok()?;
    let limit: i32 = limits.try_get("rolconnlimit").ok()?;
    let server: i32 = limits.try_get("server").ok()?;
    let holders: Vec<Holder> = sqlx::query_as(SESSIONS).fetch_all(connection).await.ok()?;
    Some(in_words(
        &role,
        limit,
        server,
        &holders,
        is_of_role(refusal),
    ))
}

/// What is counted may have changed since the refusal, and a session that was on its way in or out is counted by nobody but the limit.
fn in_words(role: &str, limit: i32, server: i32, holders: &[Holder], of_role: bool) -> String {
    let of = |ours: bool| holders.iter().filter(move |holder| holder.ours || !ours);
    let count = |ours| of(ours).map(|holder| holder.sessions).sum::<i32>();
    let by_role = limit >= 0 && (of_role || count(true) >= limit);
    let mut named: Vec<String> = of(by_role)
        .take(NAMED)
        .map(|holder| format!("{} {}", holder.name, holder.sessions))
        .collect();
    let more = of(by_role).count().saturating_sub(NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let held = named.join(", ");
    if by_role {
        let sessions = count(true);
        format!("the role \"{role}\" has {sessions} of at most {limit} connections, held by {held}")
    } else {
        let sessions = count(false);
        format!("the server has {sessions} of at most {server} connections, held by {held}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_the_role_names_its_limit_even_where_a_session_has_gone_since() {
        let holders = [
            Holder {
                name: "web-0:seaorm".to_owned(),
                ours: true,
                sessions: 2,
            },
            Holder {
                name: "psql".to_owned(),
                ours: false,
                sessions: 5,
            },
        ];
        let words = |of_role| in_words("app", 3, 100, &holders, of_role);
        assert_eq!(
            words(true),
            "the role \"app\" has 2 of at most 3 connections, held by web-0:seaorm 2"
        );
        assert_eq!(
            words(false),
            "the server has 7 of at most 100 connections, held by web-0:seaorm 2, psql 5"
        );
    }
}
