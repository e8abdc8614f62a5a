//! The server for the scenarios of `@modelcontextprotocol/conformance`; see `mcp-conformance.sh`.
#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::error::Error;

use bytes::Bytes;
use connectivity_core::{ErrorKind, HttpListener, MemoryRoutes, RawForm, Server, register};
use tests::shop::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = router(&MemoryRoutes::new());
    register!(router, Billing => Shop::at("here"))?;
    // The scenarios prescribe these names.
    let text = "This is a simple text response for testing.";
    router.register_raw("test_simple_text", move |_| async move {
        Ok(Bytes::from_static(text.as_bytes()))
    })?;
    let error = || {
        connectivity_core::Error::new(ErrorKind::Internal, "test_error_handling", "meant to fail")
    };
    router.register_raw("test_error_handling", move |_| async move { Err(error()) })?;
    let listener = HttpListener::new("127.0.0.1:0").mcp(|mcp| {
        mcp.raw("test_simple_text", RawForm::Json).raw("test_error_handling", RawForm::Json)
    });
    let server = Server::builder(&router).expose_all().listener("http", listener).start().await?;
    println!("http://{}/mcp", server.address("http").unwrap_or_default());
    std::future::pending().await
}
