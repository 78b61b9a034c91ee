//! `GET /api/orders` without the worker library, to be measured beside it.
//!
//! With the argument `sea-orm`, through SeaORM as it comes; with `one-trip`, the least there can be.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `DATABASE_URL` | the order desk's database |
//! | `POOL_MAX` | how many connections |
//! | `PORT` | where it listens, on 127.0.0.1 |

mod one_trip;
mod order;
mod sea_orm_default;

use anyhow::{Context, Error, Result, bail};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

/// As the order desk has it: what is compared is how a tenant's rows are reached.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many orders as the order desk shows.
const PAGE: u64 = 50;

#[tokio::main]
async fn main() -> Result<()> {
    let (url, max) = (variable("DATABASE_URL")?, variable("POOL_MAX")?.parse()?);
    let routes = match std::env::args().nth(1).as_deref() {
        Some("sea-orm") => sea_orm_default::routes(&url, max).await?,
        Some("one-trip") => one_trip::routes(&url, max).await?,
        other => bail!("found {other:?}, expected sea-orm or one-trip"),
    };
    let port = variable("PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, routes).await?)
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// The tenant that asks.
fn tenant(headers: &HeaderMap) -> Result<String> {
    let tenant = headers.get("x-tenant-id").context("no x-tenant-id")?;
    Ok(tenant.to_str()?.to_owned())
}

/// Whatever went wrong: no answer that counts.
struct Failed(Error);

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let text = format!("{:#}", self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    }
}
