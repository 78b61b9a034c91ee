//! Changes as SQL. Every name and text of it goes through [`identifier`] or [`literal`].

use poolwright_topology::prepare::Change;

/// What stands for a verifier where a statement is shown.
const HIDDEN: &str = "SCRAM-SHA-256$***";

/// The statements of a change, with the verifier of the password that a new role gets. None for migrations, which have
/// statements of their own.
pub(super) fn of(change: &Change, verifier: &str) -> Vec<String> {
    match change {
        Change::CreateRole {
            role,
            limit,
            comment,
        } => {
            let limit =
                limit.map_or_else(String::new, |limit| format!(" CONNECTION LIMIT {limit}"));
            let role = identifier(role);
            vec![
                format!(
                    "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS{limit} PASSWORD {}",
                    literal(verifier)
                ),
                format!("COMMENT ON ROLE {role} IS {}", literal(comment)),
            ]
        }
        Change::CreateDatabase {
            database,
            owner,
            comment,
        } => {
            let database = identifier(database);
            let owner = owner
                .as_deref()
                .map_or_else(String::new, |owner| format!(" OWNER {}", identifier(owner)));
            vec![
                format!("CREATE DATABASE {database}{owner}"),
                format!("COMMENT ON DATABASE {database} IS {}", literal(comment)),
            ]
        }
        Change::Migrate { .. } => Vec::new(),
        Change::TakeAttributes { role, attributes } => {
            let without: String = attributes
                .iter()
                .map(|one| format!(" NO{}", one.keyword()))
                .collect();
            vec![format!("ALTER ROLE {}{without}", identifier(role))]
        }
        Change::Mark { role, comment } => vec![format!(
            "COMMENT ON ROLE {} IS {}",
            identifier(role),
            literal(comment)
        )],
        Change::Limit { role, to, .. } => vec![format!(
            "ALTER ROLE {} CONNECTION LIMIT {to}",
            identifier(role)
        )],
        Change::ConnectionCheck { role, to, .. } => vec![format!(
            "ALTER ROLE {} SET client_connection_check_interval = '{}ms'",
            identifier(role),
            to.as_millis()
        )],
        Change::Grant { group, role } => {
            vec![format!(
                "GRANT {} TO {}",
                identifier(group),
                identifier(role)
            )]
        }
        Change::GrantConnect { database, role } => vec![format!(
            "GRANT CONNECT ON DATABASE {} TO {}",
            identifier(database),
            identifier(role)
        )],
        Change::RevokePublicConnect { database } => vec![format!(
            "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
            identifier(database)
        )],
        Change::RevokePublicCreate { .. } => {
            vec!["REVOKE CREATE ON SCHEMA public FROM PUBLIC".into()]
        }
    }
}

/// The statements of a change for somebody to read: without a verifier, which is almost a password.
#[must_use]
pub fn shown(change: &Change) -> Vec<String> {
    of(change, HIDDEN)
}

/// What a change does, for the message of its failure.
pub(super) fn doing(change: &Change) -> String {
    match change {
        Change::CreateRole { role, .. } => format!("creating the role \"{role}\""),
        Change::CreateDatabase { database, .. } => format!("creating the database \"{database}\""),
        Change::Migrate { database, .. } => format!("migrating \"{database}\""),
        Change::TakeAttributes { role, .. } => format!("taking attributes from \"{role}\""),
        Change::Mark { role, .. } => format!("marking the role \"{role}\""),
        Change::Limit { role, .. } => format!("limiting the connections of \"{role}\""),
        Change::ConnectionCheck { role, .. } => {
            format!("setting client_connection_check_interval for \"{role}\"")
        }
        Change::Grant { group, role } => format!(
            "making \"{role}\" a member of \"{group}\" (the administrator has to be a superuser, or to have \"{group}\" WITH ADMIN OPTION)"
        ),
        Change::GrantConnect { database, role } => {
            format!("letting \"{role}\" connect to \"{database}\"")
        }
        Change::RevokePublicConnect { database } => {
            format!("letting nobody else connect to \"{database}\"")
        }
        Change::RevokePublicCreate { database } => {
            format!("letting nobody create in the schema public of \"{database}\"")
        }
    }
}

/// A name as an SQL identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as an SQL literal, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("a'\\b"), "E'a''\\\\b'");
    }
}
