//! How do services run inside my axum application, and how does a tenant id get from a request into
//! them?
//!
//! ```text
//! cargo run --example axum-mount
//! cargo run --example axum-mount -- --listen 127.0.0.1:8080
//! ```
//!
//! Without an address it sends itself requests and exits. With an address it serves until Ctrl-C
//! and prints curl commands to try.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use connectivity_core::{Exposure, Gateway, MemoryRoutes, Router, context, register, service};
use tokio::net::TcpListener;

#[service]
trait Stock {
    /// Returns how many items are on the shelf of the calling tenant.
    #[readonly]
    async fn count(&self, item: &str) -> Result<String, connectivity_core::Error>;
}

/// Reads the tenant from the context of the call. No argument carries it, whatever the strategy.
struct Shelf;

impl Stock for Shelf {
    async fn count(&self, item: &str) -> Result<String, connectivity_core::Error> {
        let context = context::current();
        let tenant = context.meta("tenant").unwrap_or("nobody");
        Ok(format!("{tenant} has 7 of {item}"))
    }
}

/// Sets the tenant of a request for everything inside: handlers, the gateway, and the services that
/// they call.
///
/// A real application would look up a session here. Metadata that a caller sends cannot override
/// what is in the context.
async fn tenant(headers: HeaderMap, request: Request, next: Next) -> Response {
    let tenant = match headers.get("x-api-key").and_then(|key| key.to_str().ok()) {
        Some("key-of-acme") => "acme",
        Some("key-of-apex") => "apex",
        _ => {
            return (StatusCode::UNAUTHORIZED, "send the header x-api-key: key-of-acme\n")
                .into_response();
        }
    };
    match context::current().with_meta("tenant", tenant) {
        Ok(context) => context::scope(context, next.run(request)).await,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A handler of the application. It calls the service wherever the service runs.
async fn shelf(
    State(stock): State<StockClient>,
    Path(item): Path<String>,
) -> Result<String, (StatusCode, String)> {
    stock.count(&item).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
}

fn application(router: &Router) -> axum::Router {
    let gateway = Gateway::new(router.inbound(Exposure::services(["stock"])));
    axum::Router::new()
        .route("/shelf/{item}", get(shelf))
        .nest("/rpc", gateway.into_router())
        .layer(from_fn(tenant))
        .with_state(StockClient::new(router))
}

/// Serves an axum application with a service in it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Serves here until Ctrl-C.
    #[arg(long)]
    listen: Option<String>,
}

fn router() -> Result<Router, Box<dyn Error>> {
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Stock => Shelf)?;
    Ok(router)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(address) = Arguments::parse().listen else { return send_requests().await };
    let socket = TcpListener::bind(address).await?;
    let address = socket.local_addr()?;
    println!("curl -H 'x-api-key: key-of-acme' http://{address}/shelf/tea");
    println!(
        "curl -H 'x-api-key: key-of-acme' --json '{{\"item\":\"tea\"}}' http://{address}/rpc/stock.count"
    );
    let end = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(socket, application(&router()?)).with_graceful_shutdown(end).await?;
    Ok(())
}

/// Sends requests to the application without a socket, as its tests would.
async fn send_requests() -> Result<(), Box<dyn Error>> {
    let app = application(&router()?);
    for (request, answer) in [
        (request("GET", "/shelf/tea", "key-of-acme", "")?, "acme has 7 of tea"),
        (
            request("POST", "/rpc/stock.count", "key-of-apex", r#"{"item":"tea"}"#)?,
            r#""apex has 7 of tea""#,
        ),
        (request("GET", "/shelf/tea", "guessed", "")?, "send the header x-api-key: key-of-acme\n"),
    ] {
        let response = tower::ServiceExt::oneshot(app.clone(), request).await?;
        let body = axum::body::to_bytes(response.into_body(), 1024).await?;
        println!("{}", String::from_utf8_lossy(&body).trim_end());
        assert_eq!(body, answer);
    }
    Ok(())
}

fn request(
    method: &str,
    path: &str,
    key: &str,
    body: &'static str,
) -> Result<Request, axum::http::Error> {
    let headers = [
        ("x-api-key", key),
        ("content-type", "application/json"),
        ("connectivity-meta", "tenant=somebody-else"),
    ];
    let request = headers
        .into_iter()
        .fold(Request::builder(), |request, (name, value)| request.header(name, value));
    request.method(method).uri(path).body(body.into())
}

#[tokio::test]
async fn runs_to_its_end() -> Result<(), Box<dyn Error>> {
    send_requests().await
}
