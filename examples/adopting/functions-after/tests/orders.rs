//! Orders are paid, or refused with the reason.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use adopting_functions_after::web::{Order, order};
use axum::Json;
use axum::http::StatusCode;

fn of(cents: u64) -> Json<Order> {
    Json(Order { id: "17".to_owned(), cents, country: "NL".to_owned() })
}

#[tokio::test]
async fn an_order_is_paid_with_its_shipping() {
    let paid = order(of(4_200)).await.unwrap();
    assert!(paid.starts_with("17 paid 4700 in "), "{paid}");
}

#[tokio::test]
async fn a_declined_card_is_told() {
    let refused = order(of(4_200_000)).await.unwrap_err();
    assert_eq!(refused, (StatusCode::PAYMENT_REQUIRED, "the card was declined".to_owned()));
}
