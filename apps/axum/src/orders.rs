//! Placing orders and reading them, always within a tenant's transaction.

use crate::entity::{effect, order};
use crate::failure::Failure;
use crate::fulfil::{Fulfil, Fulfilment};
use dbos::{DBOS, StartOptions};
use poolwright_worker::{Tenant, Tenants, TraceParent};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// As many orders as a page shows.
const PAGE: u64 = 50;

/// The longest item, in characters; the schema has the same limit.
const ITEM_MAX: usize = 200;

/// The largest quantity; the schema has the same limit.
const QUANTITY_MAX: i32 = 1000;

/// The event under which the workflow publishes how far it is.
pub(crate) const PROGRESS: &str = "progress";

/// The order desk of this worker.
#[derive(Clone)]
pub(crate) struct Desk {
    tenants: Tenants,
    dbos: DBOS,
    fulfil: Fulfil,
}

/// What a client wants. Made by [`NewOrder::checked`] only where it was checked.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NewOrder {
    item: String,
    quantity: i32,
}

/// The ids of a placed order.
#[derive(Debug, Serialize)]
pub(crate) struct Placed {
    pub(crate) order_id: Uuid,
    pub(crate) workflow_id: String,
}

/// An order, what its workflow says and what its steps did.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    order: order::Model,
    workflow: Workflow,
    steps: Vec<effect::Model>,
}

#[derive(Debug, Serialize)]
struct Workflow {
    id: String,
    /// DBOS's own word; `null` when it knows no such workflow.
    status: Option<&'static str>,
    progress: Option<String>,
}

impl Desk {
    pub(crate) fn new(tenants: Tenants, dbos: DBOS, fulfil: Fulfil) -> Self {
        Self {
            tenants,
            dbos,
            fulfil,
        }
    }

    /// Places an order and starts its workflow.
    ///
    /// The order is committed first: the workflow's first step needs it. A failure in between
    /// leaves an order that stays `placed`, and the client an error to try again on.
    pub(crate) async fn place(&self, tenant: Tenant, new: NewOrder) -> Result<Placed, Failure> {
        let new = new.checked()?;
        let id = Uuid::new_v4();
        let workflow_id = format!("order-{id}");
        let row = order::ActiveModel {
            id: Set(id),
            tenant_id: Set(tenant.0),
            item: Set(new.item),
            quantity: Set(new.quantity),
            status: Set(order::Status::Placed),
            workflow_id: Set(workflow_id.clone()),
            created_at: NotSet,
        };
        let transaction = self.tenants.begin(Some(tenant)).await?;
        order::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        transaction.commit().await?;

        let options = StartOptions {
            workflow_id: Some(&workflow_id),
            ..StartOptions::default()
        };
        let input = Fulfilment {
            tenant: tenant.0,
            order: id,
            trace: TraceParent::current(),
        };
        self.fulfil.start_with(input, options).await?;
        Ok(Placed {
            order_id: id,
            workflow_id,
        })
    }

    /// The orders that `tenant` may see, newest first.
    pub(crate) async fn list(&self, tenant: Option<Tenant>) -> Result<Vec<order::Model>, Failure> {
        let transaction = self.tenants.begin(tenant).await?;
        // No filter by tenant: that is the database's policy to apply, and the tests' to drop.
        let orders = order::Entity::find()
            .order_by_desc(order::Column::CreatedAt)
            .order_by_asc(order::Column::Id)
            .limit(PAGE)
            .all(&transaction)
            .await?;
        transaction.end_read();
        Ok(orders)
    }

    /// One order with its workflow and steps.
    pub(crate) async fn details(
        &self,
        tenant: Option<Tenant>,
        id: Uuid,
    ) -> Result<Details, Failure> {
        let transaction = self.tenants.begin(tenant).await?;
        let order = order::Entity::find_by_id(id).one(&transaction).await?;
        let Some(order) = order else {
            return Err(Failure::NotFound(format!("no order {id}")));
        };
        let steps = effect::Entity::find()
            .filter(effect::Column::OrderId.eq(id))
            .order_by_asc(effect::Column::Id)
            .all(&transaction)
            .await?;
        // Before DBOS is asked: a request never holds connections of both pools.
        transaction.end_read();
        let workflow = self.workflow(&order.workflow_id).await?;
        Ok(Details {
            order,
            workflow,
            steps,
        })
    }

    async fn workflow(&self, id: &str) -> Result<Workflow, Failure> {
        let status = match self
            .dbos
            .retrieve_workflow::<(), dbos::EngineOnly>(id)?
            .status()
            .await
        {
            Ok(status) => Some(status.as_str()),
            Err(dbos::Error::WorkflowNotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // Zero: look once, do not wait for an event that is still to come.
        let progress = self.dbos.get_event(id, PROGRESS, Duration::ZERO).await?;
        Ok(Workflow {
            id: id.to_owned(),
            status,
            progress,
        })
    }
}

impl NewOrder {
    /// An order for `quantity` of `item`, as a form has them: in text.
    pub(crate) fn from_form(item: String, quantity: &str) -> Result<Self, Failure> {
        let quantity = quantity
            .trim()
            .parse()
            .map_err(|_| quantity_mistake(&quantity))?;
        Self { item, quantity }.checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        let item = self.item.trim().to_owned();
        if item.is_empty() || item.chars().count() > ITEM_MAX {
            return Err(Failure::BadRequest(format!(
                "item: found {} characters, expected 1 to {ITEM_MAX}",
                item.chars().count()
            )));
        }
        if !(1..=QUANTITY_MAX).contains(&self.quantity) {
            return Err(quantity_mistake(&self.quantity));
        }
        Ok(Self {
            item,
            quantity: self.quantity,
        })
    }
}

fn quantity_mistake(found: &dyn std::fmt::Display) -> Failure {
    Failure::BadRequest(format!(
        "quantity: found {found}, expected a whole number from 1 to {QUANTITY_MAX}"
    ))
}
