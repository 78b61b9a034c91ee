//! Row-level security through the whole stack (S9).

use std::collections::BTreeSet;
use std::time::Duration;

use acceptance::{Cell, Desk, Fleet};
use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

acceptance::matrix!(two_tenants_under_load_never_see_each_other_and_nobody_sees_nothing);

/// Clients of each tenant, at the same time.
const CLIENTS: usize = 8;
/// What each client does: place an order, then look.
const ROUNDS: usize = 10;
const SHIPPED: Duration = Duration::from_secs(60);

/// Checked twice: with the policies, where nothing may leak, and without, where the same check has to
/// find the leak.
async fn two_tenants_under_load_never_see_each_other_and_nobody_sees_nothing(
    cell: Cell,
) -> Result<()> {
    let fleet = Fleet::start(cell).await?;
    let desk = &fleet.desk;
    let tenants = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    let [one, other] = &tenants;

    let clients = (0..CLIENTS).flat_map(|_| [trade(desk, one, other), trade(desk, other, one)]);
    let orders: Vec<String> = try_join_all(clients).await?.into_iter().flatten().collect();
    ensure!(
        orders.len() == 2 * CLIENTS * ROUNDS,
        "{} orders",
        orders.len()
    );
    let leaks = leaks_of(desk, &tenants).await?;
    ensure!(leaks.is_empty(), "{leaks:?}");

    let first = desk.placed("Espresso beans", one).await?;
    desk.shipped(&first, one, SHIPPED).await?;
    let stranger = desk
        .get(&format!("/api/orders/{first}"), Some(other))
        .await?;
    ensure!(
        stranger.status == 404,
        "another tenant's order: {stranger:?}"
    );
    let nobody = desk.place("Espresso beans", 1, None).await?;
    ensure!(
        (400..500).contains(&nobody.status),
        "an order of nobody: {nobody:?}"
    );
    for nonsense in ["not-a-uuid", &format!("{one}', true); ROLLBACK; --")] {
        let refused = desk.get("/api/orders", Some(nonsense)).await?;
        ensure!(refused.status == 400, "the tenant {nonsense}: {refused:?}");
    }

    let mut admin = fleet.setup.server.connect("order_desk").await?;
    sqlx::raw_sql("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
        .execute(&mut admin)
        .await?;
    drop(admin);
    let leaks = leaks_of(desk, &tenants).await?;
    ensure!(
        leaks.len() == 3,
        "without the policy this check finds {leaks:?}, expected a leak to each"
    );
    fleet.stop().await
}

/// Places orders and looks at the list in between; answers with the ids.
async fn trade(desk: &Desk, tenant: &str, stranger: &str) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    for _ in 0..ROUNDS {
        orders.push(desk.placed("Filter papers", tenant).await?);
        let seen = list(desk, Some(tenant)).await?;
        ensure!(!seen.is_empty(), "{tenant} does not see its own orders");
        ensure!(
            !owners(&seen).contains(stranger),
            "{tenant} sees {stranger}'s orders"
        );
        ensure!(list(desk, None).await?.is_empty(), "nobody sees orders");
    }
    Ok(orders)
}

/// Who sees what is not theirs.
async fn leaks_of(desk: &Desk, tenants: &[String; 2]) -> Result<Vec<String>> {
    let mut leaks = Vec::new();
    for tenant in tenants {
        let owners = owners(&list(desk, Some(tenant)).await?);
        if owners != [tenant.clone()].into() {
            leaks.push(format!("{tenant} sees orders of {owners:?}"));
        }
    }
    if !list(desk, None).await?.is_empty() {
        leaks.push("nobody sees orders".to_owned());
    }
    Ok(leaks)
}

async fn list(desk: &Desk, tenant: Option<&str>) -> Result<Vec<Value>> {
    let answer = desk.get("/api/orders", tenant).await?;
    match answer.body["orders"].as_array() {
        Some(orders) if answer.status == 200 => Ok(orders.clone()),
        _ => bail!("no list of orders: {answer:?}"),
    }
}

fn owners(orders: &[Value]) -> BTreeSet<String> {
    orders
        .iter()
        .filter_map(|order| order["tenant_id"].as_str())
        .map(str::to_owned)
        .collect()
}
