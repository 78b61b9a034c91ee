//! An environment that is wrong opens nothing (S8).

use std::time::Duration;

use acceptance::{Setup, Stack};
use anyhow::{Result, ensure};
use sqlx::PgConnection;

acceptance::both_stacks!(
    nonsense_in_any_variable_is_told_with_what_was_found_and_what_would_do_and_opens_nothing,
    a_manifest_whose_variables_are_wrong_is_refused_with_all_mistakes_at_once,
    a_worker_that_refuses_its_environment_ends_the_fleet_with_its_words,
);

/// A worker that refuses does so at once; Node takes a second to load.
const LIMIT: Duration = Duration::from_secs(30);

/// A mistake, and what the message has to say of it.
struct Mistake {
    variable: &'static str,
    /// `None`: not set.
    value: Option<&'static str>,
    found: &'static str,
    expected: &'static str,
}

const fn mistake(
    variable: &'static str,
    value: Option<&'static str>,
    found: &'static str,
    expected: &'static str,
) -> Mistake {
    Mistake {
        variable,
        value,
        found,
        expected,
    }
}

const WHOLE: &str = "a whole number";
const URL: &str = "postgres://";
const MISTAKES: [Mistake; 16] = [
    mistake("PM2_INSTANCES", Some("three"), "\"three\"", WHOLE),
    mistake("PM2_INSTANCES", Some("0"), "\"0\"", "1 to 512"),
    mistake("PM2_INSTANCES", Some("513"), "\"513\"", "1 to 512"),
    mistake("PRISMA_POOL_MAX", Some("-3"), "\"-3\"", WHOLE),
    mistake("PRISMA_POOL_MAX", Some("1001"), "\"1001\"", "1 to 1000"),
    mistake("DBOS_POOL_MAX", Some("2.5"), "\"2.5\"", WHOLE),
    mistake("DBOS_POOL_MAX", Some("1"), "\"1\"", "2 to 1000"),
    mistake(
        "PRINT_PRISMA_POOL_METRICS",
        Some("maybe"),
        "\"maybe\"",
        "true",
    ),
    mistake("PM2_INSTANCE_ID", Some("first"), "\"first\"", WHOLE),
    mistake("PM2_INSTANCE_ID", Some("512"), "\"512\"", "0 to 511"),
    mistake("DATABASE_URL", None, "not set", URL),
    mistake(
        "DATABASE_URL",
        Some("mysql://app:hunter2@db/desk"),
        "mysql://app:***@db/desk",
        URL,
    ),
    mistake(
        "DATABASE_URL",
        Some("postgres://app:hunter2@db"),
        "app:***@db",
        "database",
    ),
    mistake(
        "DATABASE_URL",
        Some("postgres://app:hunter2@db/desk?connection_limit=5"),
        "connection_limit",
        "PRISMA_POOL_MAX",
    ),
    mistake("DBOS_SYSTEM_DATABASE_URL", None, "not set", URL),
    mistake(
        "DBOS_SYSTEM_DATABASE_URL",
        Some("nonsense"),
        "nonsense",
        URL,
    ),
];

/// On a server where everything is prepared, so that a worker that went on would get its connections.
async fn nonsense_in_any_variable_is_told_with_what_was_found_and_what_would_do_and_opens_nothing(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?;
    setup.poolwright()?.run(&["prepare"]).await?.expect(0)?;
    let mut admin = setup.server.admin().await?;
    let before = sessions(&mut admin).await?;

    for one in &MISTAKES {
        refuses(&setup, &[one]).await?;
    }
    refuses(
        &setup,
        &[
            &MISTAKES[0],
            &MISTAKES[6],
            &MISTAKES[7],
            &MISTAKES[11],
            &MISTAKES[14],
        ],
    )
    .await?;
    let after = sessions(&mut admin).await?;
    ensure!(after == before, "{} sessions were opened", after - before);

    // The counter counts: the same worker with nothing wrong opens its pools.
    let mut sound = setup.bare_worker(&[])?;
    sound
        .line("its start-up line", LIMIT, |line| {
            line.contains("worker started")
        })
        .await?;
    sound.signal(rustix::process::Signal::TERM)?;
    sound.exited(LIMIT).await?;
    let opened = sessions(&mut admin).await? - before;
    ensure!(opened >= 6, "a sound worker opened {opened} sessions");
    drop(admin);
    setup.server.stop().await
}

/// Starts a worker with these mistakes; it has to end with code 2 and to name each of them.
async fn refuses(setup: &Setup, mistakes: &[&Mistake]) -> Result<()> {
    let changes: Vec<_> = mistakes
        .iter()
        .map(|one| (one.variable, one.value))
        .collect();
    let mut worker = setup.bare_worker(&changes)?;
    let status = worker.exited(LIMIT).await?;
    // The end of the output comes with the end of the process, not before it.
    worker
        .line("how many mistakes", LIMIT, |line| {
            line.contains("invalid environment")
        })
        .await?;
    let mut said = String::new();
    for one in mistakes {
        let start = format!("{}: ", one.variable);
        let line = worker
            .line(&start, LIMIT, |line| line.trim().starts_with(&start))
            .await?;
        ensure!(
            line.contains(one.found) && line.contains("expected") && line.contains(one.expected),
            "{:?} = {:?} should name {:?} and expect {:?}: {line}",
            one.variable,
            one.value,
            one.found,
            one.expected
        );
        said.push_str(&line);
    }
    let (count, plural) = (mistakes.len(), if mistakes.len() == 1 { "" } else { "s" });
    let head = format!("invalid environment, {count} mistake{plural}:");
    let all = worker.lines().join("\n");
    ensure!(all.contains(&head), "no {head:?} in:\n{all}");
    ensure!(
        status.code() == Some(2),
        "{changes:?} ended with {status}: {all}"
    );
    ensure!(!all.contains("hunter2"), "a password in:\n{all}");
    Ok(())
}

/// How many sessions the databases of the desk have had so far; each is counted when it ends.
async fn sessions(admin: &mut PgConnection) -> Result<i64> {
    let databases = "SELECT coalesce(sum(sessions), 0)::bigint FROM pg_stat_database
                     WHERE datname LIKE 'order\\_desk%'";
    Ok(sqlx::query_scalar(databases).fetch_one(admin).await?)
}

async fn a_manifest_whose_variables_are_wrong_is_refused_with_all_mistakes_at_once(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack)
        .await?
        .env("PM2_INSTANCES", "three")
        .env("PRISMA_POOL_MAX", "0")
        .env("DBOS_POOL_MAX", "1")
        .env("DATABASE_URL", "mysql://app:hunter2@db/desk");
    for command in ["plan", "prepare", "up", "verify"] {
        let answer = setup.poolwright()?.run(&[command]).await?.expect(2)?;
        for variable in [
            "PM2_INSTANCES",
            "PRISMA_POOL_MAX",
            "DBOS_POOL_MAX",
            "DATABASE_URL",
        ] {
            let said = &answer.stderr;
            ensure!(
                said.contains(variable),
                "{command} does not name {variable}:\n{said}"
            );
        }
        ensure!(answer.stderr.contains("three"), "{}", answer.stderr);
        ensure!(
            !format!("{answer:?}").contains("hunter2"),
            "{command} printed a password"
        );
    }
    setup.server.stop().await
}

/// A variable that only the worker reads: the manager's word for it is the worker's own.
async fn a_worker_that_refuses_its_environment_ends_the_fleet_with_its_words(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack)
        .await?
        .env("PRINT_PRISMA_POOL_METRICS", "maybe");
    let answer = setup.poolwright()?.run(&["up"]).await?.expect(1)?;
    let said = "PRINT_PRISMA_POOL_METRICS: found \"maybe\", expected";
    ensure!(
        answer.stderr.contains(said),
        "no {said:?} in:\n{}",
        answer.stderr
    );
    setup.server.stop().await
}
