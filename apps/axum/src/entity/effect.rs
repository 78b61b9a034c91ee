//! What a step did: one row each time it ran, so that a step that ran twice is two rows.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize)]
#[sea_orm(table_name = "effects")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    #[serde(skip)]
    pub(crate) id: i64,
    #[serde(skip)]
    pub(crate) tenant_id: Uuid,
    #[serde(skip)]
    pub(crate) order_id: Uuid,
    pub(crate) step: String,
    pub(crate) executor_id: String,
    pub(crate) pid: i32,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
