//! An order. Its row is the order's JSON as it stands.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize)]
#[sea_orm(table_name = "orders")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) item: String,
    pub(crate) quantity: i32,
    pub(crate) status: Status,
    pub(crate) workflow_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
}

/// How far an order is; each step of the workflow moves it on by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    #[sea_orm(string_value = "placed")]
    Placed,
    #[sea_orm(string_value = "reserved")]
    Reserved,
    #[sea_orm(string_value = "charged")]
    Charged,
    #[sea_orm(string_value = "shipped")]
    Shipped,
}

impl Status {
    /// All of them, in the order of an order's life.
    pub(crate) const ALL: [Self; 4] = [Self::Placed, Self::Reserved, Self::Charged, Self::Shipped];

    /// The word, as the database, the JSON and the workflow's event have it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Charged => "charged",
            Self::Shipped => "shipped",
        }
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
