//! The page: rendered here, usable without JavaScript. With it, `page.js` places orders without a
//! reload and follows running ones by fetching this same page, so that orders are rendered in one
//! place only.

use crate::entity::order::{Model, Status};
use crate::failure::Failure;
use crate::orders::{Desk, NewOrder};
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use poolwright_worker::Tenant;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::{Uuid, uuid};

/// Whose orders the page shows when it is not told.
const DEMO: Uuid = uuid!("11111111-1111-4111-8111-111111111111");

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

#[derive(Debug, Deserialize)]
struct Whose {
    tenant: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Fields {
    item: String,
    quantity: String,
    tenant: Option<String>,
}

/// `GET /` and the form's `POST /`.
pub(crate) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/", get(show).post(place))
        .with_state(desk)
}

async fn show(State(desk): State<Desk>, Query(whose): Query<Whose>) -> Response {
    match tenant(whose.tenant.as_deref()) {
        Ok(tenant) => answer(&desk, tenant, None).await,
        Err(failure) => answer(&desk, Tenant(DEMO), Some(failure)).await,
    }
}

async fn place(State(desk): State<Desk>, fields: Result<Form<Fields>, FormRejection>) -> Response {
    let fields = match fields {
        Ok(Form(fields)) => fields,
        Err(rejection) => {
            let failure = Failure::BadRequest(rejection.body_text());
            return answer(&desk, Tenant(DEMO), Some(failure)).await;
        }
    };
    let tenant = match tenant(fields.tenant.as_deref()) {
        Ok(tenant) => tenant,
        Err(failure) => return answer(&desk, Tenant(DEMO), Some(failure)).await,
    };
    let placed = match NewOrder::from_form(fields.item, &fields.quantity) {
        Ok(new) => desk.place(tenant, new).await,
        Err(failure) => Err(failure),
    };
    match placed {
        Ok(_) => Redirect::to(&format!("/?tenant={}", tenant.0)).into_response(),
        Err(failure) => answer(&desk, tenant, Some(failure)).await,
    }
}

fn tenant(text: Option<&str>) -> Result<Tenant, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(Tenant(DEMO));
    };
    Uuid::parse_str(text)
        .map(Tenant)
        .map_err(|_| Failure::BadRequest(format!("tenant: found {text:?}, expected a UUID")))
}

/// The page of `tenant`, with what went wrong before, and the status that fits that.
async fn answer(desk: &Desk, tenant: Tenant, failure: Option<Failure>) -> Response {
    let (orders, failure) = match (desk.list(Some(tenant)).await, failure) {
        (Ok(orders), failure) => (orders, failure),
        (Err(unread), failure) => (Vec::new(), failure.or(Some(unread))),
    };
    let status = failure.as_ref().map_or(StatusCode::OK, Failure::status);
    if let Some(failure) = &failure {
        failure.log();
    }
    let message = failure.map(|failure| failure.to_string());
    let page = render(tenant.0, &orders, message.as_deref());
    let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, [fresh], Html(page.into_string())).into_response()
}

fn render(tenant: Uuid, orders: &[Model], message: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Order desk" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
                script type="module" { (PreEscaped(SCRIPT)) }
            }
            body {
                header {
                    h1 { "Order desk" }
                    p .whose { "Orders of tenant " code { (tenant) } }
                }
                main {
                    (form(tenant, message))
                    section #orders aria-label="Orders" { (list(orders)) }
                    p #status .quiet role="status" aria-live="polite" {}
                }
                footer { "axum · DBOS · SeaORM, on the connections that were declared" }
            }
        }
    }
}

fn form(tenant: Uuid, message: Option<&str>) -> Markup {
    html! {
        form method="post" action="/" data-testid="place-order" {
            label .item {
                span { "Item" }
                input name="item" required maxlength="200" autocomplete="off"
                    placeholder="Espresso beans";
            }
            label .quantity {
                span { "Quantity" }
                input name="quantity" type="number" required min="1" max="1000" value="1"
                    inputmode="numeric";
            }
            input type="hidden" name="tenant" value=(tenant);
            button type="submit" { "Place order" }
            p #problem .problem role="alert" { @if let Some(message) = message { (message) } }
        }
    }
}

fn list(orders: &[Model]) -> Markup {
    html! {
        @if orders.is_empty() {
            p .empty { "No orders yet. Place the first one above." }
        } @else {
            ol .orders { @for order in orders { (row(order)) } }
        }
    }
}

fn row(order: &Model) -> Markup {
    let status = order.status.word();
    html! {
        li data-testid="order" data-order-id=(order.id) data-status=(status) {
            div .what {
                strong { (order.item) }
                span .quiet { "× " (order.quantity) }
            }
            ol .progress aria-label={ "Progress: " (status) } {
                @for step in Status::ALL {
                    li .done[reached(order.status, step)] { (step.word()) }
                }
            }
            (placed_at(order.created_at))
        }
    }
}

fn reached(status: Status, step: Status) -> bool {
    let place = |of| Status::ALL.iter().position(|status| *status == of);
    place(step) <= place(status)
}

fn placed_at(at: OffsetDateTime) -> Markup {
    let readable = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let text = at.format(readable).unwrap_or_default();
    html! { time .quiet { (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(item: &str, status: Status) -> Model {
        Model {
            id: Uuid::nil(),
            tenant_id: DEMO,
            item: item.to_owned(),
            quantity: 2,
            status,
            workflow_id: "order-1".to_owned(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_orders_row_says_its_id_and_status_and_how_far_it_is() {
        let page = row(&order("Beans", Status::Charged)).into_string();
        assert!(page.contains("data-testid=\"order\""), "{page}");
        assert!(page.contains("data-order-id=\"00000000-"), "{page}");
        assert!(page.contains("data-status=\"charged\""), "{page}");
        assert_eq!(page.matches("class=\"done\"").count(), 3, "{page}");
    }

    #[test]
    fn what_a_tenant_wrote_is_text_and_never_markup() {
        let orders = [order("<script>alert(1)</script>", Status::Placed)];
        let page = render(DEMO, &orders, Some("<b>")).into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }
}
