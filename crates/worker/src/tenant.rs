//! Transactions under row-level security.
//!
//! Invariant: a connection carries the tenant for one transaction and nothing else, and goes back
//! to the pool only after that transaction's end. `SET` would stay on the connection for its next
//! borrower; `set_config(…, true)` ends with the transaction, and unlike `SET` it takes a bind
//! parameter.

use crate::lending::{Lending, Lent};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
    TransactionTrait,
};
use std::ops::Deref;
use std::sync::Arc;
use uuid::Uuid;

/// Whose rows a transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenant(pub Uuid);

/// Opens the transactions of tenants.
#[derive(Debug, Clone)]
pub struct Tenants {
    orm: DatabaseConnection,
    lending: Arc<Lending>,
}

/// A transaction that sees one tenant's rows, or no tenant's. Dropped without a commit, it
/// is rolled back before its connection is lent out again.
#[derive(Debug)]
pub struct TenantTransaction {
    transaction: DatabaseTransaction,
    // After the transaction, so that its end is part of the use.
    _lent: Lent,
}

impl Tenants {
    /// Transactions on `orm`; `lending` counts who waits for a connection, see [`crate::gauges`].
    #[must_use]
    pub const fn new(orm: DatabaseConnection, lending: Arc<Lending>) -> Self {
        Self { orm, lending }
    }

    /// Begins a transaction of `tenant`; of nobody when there is none, who sees no rows.
    ///
    /// Cancel safe: what was begun is rolled back.
    ///
    /// # Errors
    /// When no connection comes free in time, or the database refuses.
    pub async fn begin(&self, tenant: Option<Tenant>) -> Result<TenantTransaction, DbErr> {
        let (transaction, lent) = self.lending.lend(self.orm.begin()).await?;
        if let Some(Tenant(id)) = tenant {
            let set = Statement::from_sql_and_values(
                DbBackend::Postgres,
                "SELECT set_config('app.tenant_id', $1, true)",
                [id.to_string().into()],
            );
            transaction.execute_raw(set).await?;
        }
        Ok(TenantTransaction {
            transaction,
            _lent: lent,
        })
    }
}

impl TenantTransaction {
    /// Ends a transaction that only read.
    ///
    /// It is rolled back together with the test that the pool makes of a connection it gets back: one
    /// round trip less than a commit, and none that the request waits for.
    pub fn end_read(self) {
        drop(self);
    }

    /// Commits.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.transaction.commit().await
    }
}

impl Deref for TenantTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}
