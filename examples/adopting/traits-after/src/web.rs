//! The HTTP interface.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

use crate::checkout::Checkout;

#[derive(Debug, Deserialize)]
struct Order {
    id: String,
    cents: u64,
    country: String,
}

pub fn app(checkout: Checkout) -> Router {
    Router::new().route("/orders", post(order)).with_state(checkout)
}

async fn order(
    State(checkout): State<Checkout>,
    Json(order): Json<Order>,
) -> Result<String, (StatusCode, String)> {
    let receipt = checkout.pay(&order.id, order.cents, &order.country).await;
    let receipt = receipt.map_err(|error| (StatusCode::PAYMENT_REQUIRED, error.to_string()))?;
    Ok(format!("{} paid {} in {}\n", receipt.order, receipt.cents, receipt.process))
}
