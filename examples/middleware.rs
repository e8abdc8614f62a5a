//! In which order do I put the layers that come with the crate? As here, in one stack. A far end
//! that follows a script shows what each of them is for; `layers.rs` shows how to write one.
//!
//! ```text
//! cargo run --example middleware
//! ```
//!
//! The log goes wherever the program's `tracing` subscriber sends it; here there is none. A row can
//! ask for retries and a breaker as well (`retry_max`, `breaker_failures`), each route with its
//! own; these here are for calls that no row concerns, and for what all calls of a program share.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::VecDeque;
use std::error::Error;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connectivity_core::layer::{
    BreakerLayer, LoggingLayer, RecoveryLayer, RetryLayer, TimeoutLayer,
};
use connectivity_core::{
    BuildContext, CallService, CircuitBreaker, ErrorKind, MemoryRoutes, Remote, Reply, Route,
    RouteError, Router, Transport,
};
use tower::ServiceBuilder;

#[derive(Clone, Copy, Debug)]
enum Step {
    Answer,
    Refuse,
    Panic,
    Silence,
}

/// A transport whose far end does one step after the other.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<VecDeque<Step>>>);

impl Script {
    fn says(&self, steps: &[Step]) {
        self.steps().extend(steps);
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, VecDeque<Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Script {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let script = self.clone();
        Ok(Remote::new(CallService::from_fn(move |call| {
            let step = script.steps().pop_front();
            async move {
                match step {
                    Some(Step::Answer) => Ok(Reply::raw("42")),
                    Some(Step::Panic) => panic!("a bug in a transport"),
                    Some(Step::Silence) => pending().await,
                    Some(Step::Refuse) | None => {
                        Err(call.failed(ErrorKind::Connect, "nobody listens"))
                    }
                }
            }
        })))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (script, breaker) = (Script::default(), CircuitBreaker::builder().failures(4).build());
    let routes = MemoryRoutes::new();
    routes.set("prices", "script", Some("the far end"), "{}");
    let router = Router::builder()
        .source(routes)
        .transport("script", script.clone())
        .layer(
            ServiceBuilder::new() // the first is outermost
                .layer(LoggingLayer::new())
                .layer(RecoveryLayer::new())
                .layer(TimeoutLayer::new(Duration::from_secs(1))) // of the whole call, with all its attempts
                .layer(RetryLayer::new(2).backoff(Duration::from_millis(1)))
                .layer(BreakerLayer::new(breaker.clone())), // sees each attempt
        )
        .build()?;

    use Step::{Answer, Panic, Refuse, Silence};
    let plays: &[(&str, &[Step])] = &[
        ("refused twice, then answered", &[Refuse, Refuse, Answer]),
        ("a panic", &[Panic]),
        ("no answer in time", &[Silence]),
        ("refused for good", &[Refuse, Refuse]),
        ("once more", &[]),
    ];
    for (what, steps) in plays {
        script.says(steps);
        tell(what, &router).await;
        assert!(script.steps().is_empty(), "each step was an attempt");
    }
    breaker.reset();
    script.says(&[Answer]);
    tell("after a reset", &router).await;
    Ok(())
}

async fn tell(what: &str, router: &Router) {
    match router.call("prices", "how much?").await {
        Ok(answer) => println!("{what}: {}", String::from_utf8_lossy(&answer)),
        Err(error) => println!("{what}: {}, sent: {}", error.kind(), error.sent().as_str()),
    }
}
