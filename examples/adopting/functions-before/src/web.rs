//! The HTTP interface.

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

use crate::billing;

#[derive(Debug, Deserialize)]
pub struct Order {
    pub id: String,
    pub cents: u64,
    pub country: String,
}

pub fn app() -> Router {
    Router::new().route("/orders", post(order))
}

/// Takes an order.
///
/// # Errors
/// Returns 402 and the reason if the order cannot be paid.
pub async fn order(Json(order): Json<Order>) -> Result<String, (StatusCode, String)> {
    let paid = async {
        let shipping = billing::shipping(&order.country).await?;
        billing::charge(&order.id, order.cents + shipping).await
    };
    let receipt = paid.await.map_err(|error| (StatusCode::PAYMENT_REQUIRED, error.to_string()))?;
    Ok(format!("{} paid {} in {}\n", receipt.order, receipt.cents, receipt.process))
}
