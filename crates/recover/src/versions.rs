//! Which versions of the application run, and what none of them can take.
//!
//! An executor takes work of its own version only, and says nowhere which that is. It shows by the work that it took since it connected.
//! One that has taken none yet has just been started, most likely as the version that was registered last.

use crate::error::Error;
use crate::living::Connected;
use crate::recovery::count;
use crate::report::{Stuck, Version};
use sqlx::postgres::PgConnection;
use sqlx::{Row, query};
use std::collections::BTreeSet;

/// The versions that living executors run.
pub(crate) async fn running(
    session: &mut PgConnection,
    connected: &Connected,
) -> Result<Vec<Version>, Error> {
    let (executors, since): (Vec<&str>, Vec<i64>) = connected.executors().unzip();
    if executors.is_empty() {
        return Ok(Vec::new());
    }
    // By the two indexes on times: what it began itself and what it took from a queue, the last of each.
    let rows = query(
        "SELECT taken.version FROM unnest($1::text[], $2::bigint[]) AS living (executor_id, since)
         LEFT JOIN LATERAL (
             (SELECT application_version AS version FROM dbos.workflow_status
              WHERE executor_id = living.executor_id AND created_at >= living.since
              AND status <> 'ENQUEUED' AND application_version IS NOT NULL
              ORDER BY created_at DESC LIMIT 1)
             UNION
             (SELECT application_version FROM dbos.workflow_status
              WHERE executor_id = living.executor_id AND started_at_epoch_ms >= living.since
              AND application_version IS NOT NULL
              ORDER BY started_at_epoch_ms DESC LIMIT 1)) AS taken ON true",
    )
    .bind(executors)
    .bind(since)
    .fetch_all(&mut *session)
    .await
    .map_err(Error::query("reading which versions run"))?;
    let shown: Vec<Option<String>> = rows.iter().map(|row| row.get("version")).collect();
    let running: BTreeSet<String> = shown.iter().flatten().cloned().collect();
    let newcomers = shown.contains(&None);
    let assumed = match newcomers {
        true => last_registered(session).await?,
        false => None,
    };
    let assumed = assumed.filter(|version| !running.contains(version));
    let version = |version, assumed| Version { version, assumed };
    let mut versions: Vec<Version> = running
        .into_iter()
        .map(|found| version(found, false))
        .collect();
    versions.extend(assumed.map(|found| version(found, true)));
    versions.sort();
    Ok(versions)
}

async fn last_registered(session: &mut PgConnection) -> Result<Option<String>, Error> {
    let row = query(
        "SELECT version_name FROM dbos.application_versions ORDER BY version_timestamp DESC LIMIT 1",
    )
    .fetch_optional(session)
    .await
    .map_err(Error::query("reading which versions are registered"))?;
    Ok(row.map(|row| row.get(0)))
}

/// What waits for a version that nobody runs.
pub(crate) async fn stuck(
    session: &mut PgConnection,
    running: &[Version],
) -> Result<Vec<Stuck>, Error> {
    let rows = query(
        "SELECT application_name, application_version, status, count(*) AS workflows
         FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )
    .fetch_all(session)
    .await
    .map_err(Error::query("reading what waits"))?;
    let waiting = rows.iter().map(|row| Stuck {
        application: row.get("application_name"),
        version: row.get("application_version"),
        status: row.get("status"),
        workflows: count(row.get("workflows")),
    });
    Ok(waiting
        .filter(|waiting| !can_be_taken(waiting, running))
        .collect())
}

/// What was enqueued for no version in particular is taken by whoever runs the last one.
fn can_be_taken(waiting: &Stuck, running: &[Version]) -> bool {
    match &waiting.version {
        Some(version) => running.iter().any(|runs| runs.version == *version),
        None => waiting.status == "ENQUEUED" && !running.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_of_a_version_that_runs_can_be_taken_and_work_of_none_while_it_is_enqueued() {
        let running = [Version {
            version: "v2".into(),
            assumed: false,
        }];
        for (version, status, taken) in [
            (Some("v2"), "PENDING", true),
            (Some("v1"), "ENQUEUED", false),
            (None, "ENQUEUED", true),
            (None, "PENDING", false),
        ] {
            let waiting = Stuck {
                application: None,
                version: version.map(Into::into),
                status: status.into(),
                workflows: 1,
            };
            assert_eq!(can_be_taken(&waiting, &running), taken, "{waiting:?}");
            assert!(!can_be_taken(&waiting, &[]), "{waiting:?}");
        }
    }
}
