//! The workflow `fulfil`: reserve, charge, sleep, ship.
//!
//! A step's effect and the order's new status are one transaction, so that a step that is seen has
//! happened whole. DBOS records a step after that transaction: a process that dies in between runs
//! the step again, and the table of effects shows it twice.

use crate::entity::effect;
use crate::entity::order::{self, Status};
use crate::orders::PROGRESS;
use crate::settings::DeskSettings;
use dbos::{StepOptions, WorkflowRef};
use poolwright_worker::identity::Identity;
use poolwright_worker::worker::Opened;
use poolwright_worker::{Tenant, Tenants, TraceParent, workflow};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// How often a step is tried. A database that restarts is back within the waits in between.
const ATTEMPTS: u32 = 5;

/// The registered workflow.
pub(crate) type Fulfil = WorkflowRef<Fulfilment, (), StepFailed>;

/// What a run of the workflow is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fulfilment {
    pub(crate) tenant: Uuid,
    pub(crate) order: Uuid,
    /// The request's, so that the workflow is in its trace, whoever runs it.
    #[serde(default, skip_serializing_if = "TraceParent::is_none")]
    pub(crate) trace: TraceParent,
}

/// A step did not get through in any attempt.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{step} of order {order}: {reason}")]
pub(crate) struct StepFailed {
    step: String,
    order: Uuid,
    reason: String,
}

/// What the steps need of the worker.
#[derive(Clone)]
struct Floor {
    tenants: Tenants,
    identity: Identity,
    step: Duration,
}

/// Registers the workflow; before the launch, which is when the executor takes its workflows in.
pub(crate) fn register(opened: &Opened, settings: DeskSettings) -> Result<Fulfil, dbos::Error> {
    let floor = Floor {
        tenants: opened.tenants(),
        identity: opened.settings().identity.clone(),
        step: settings.step,
    };
    opened
        .dbos()
        .register_workflow("fulfil", move |input: Fulfilment| {
            let floor = floor.clone();
            async move {
                let work = fulfil(&floor, settings.sleep, &input);
                workflow("fulfil", &input.trace, work).await
            }
        })
}

async fn fulfil(
    floor: &Floor,
    sleep: Duration,
    input: &Fulfilment,
) -> dbos::Result<(), StepFailed> {
    floor.advance("reserve", Status::Reserved, input).await?;
    floor.advance("charge", Status::Charged, input).await?;
    dbos::sleep(sleep).await?;
    floor.advance("ship", Status::Shipped, input).await
}

impl Floor {
    /// Runs the step `name`, which brings the order to `status`, and publishes that.
    async fn advance(
        &self,
        name: &'static str,
        status: Status,
        input: &Fulfilment,
    ) -> dbos::Result<(), StepFailed> {
        let options = StepOptions {
            max_attempts: ATTEMPTS,
            ..StepOptions::default()
        };
        dbos::step_with(name, options, || async move {
            // Before the transaction: a step that takes its time holds no connection meanwhile.
            tokio::time::sleep(self.step).await;
            self.record(name, status, input).await.map_err(|error| {
                dbos::Error::Application(StepFailed {
                    step: name.to_owned(),
                    order: input.order,
                    reason: error.to_string(),
                })
            })
        })
        .await?;
        dbos::set_event(PROGRESS, &status.word()).await
    }

    async fn record(
        &self,
        step: &'static str,
        status: Status,
        &Fulfilment { tenant, order, .. }: &Fulfilment,
    ) -> Result<(), DbErr> {
        let transaction = self.tenants.begin(Some(Tenant(tenant))).await?;
        let row = effect::ActiveModel {
            id: NotSet,
            tenant_id: Set(tenant),
            order_id: Set(order),
            step: Set(step.to_owned()),
            executor_id: Set(self.identity.executor_id()),
            pid: Set(i32::try_from(self.identity.pid()).unwrap_or(i32::MAX)),
            at: NotSet,
        };
        effect::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        order::Entity::update_many()
            .col_expr(order::Column::Status, Expr::value(status))
            .filter(order::Column::Id.eq(order))
            .exec(&transaction)
            .await?;
        transaction.commit().await
    }
}
