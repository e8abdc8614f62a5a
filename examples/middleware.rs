//! In which order do I stack the layers of the crate? As here. A scripted server shows what each
//! layer is for; `layers.rs` shows how to write one.
//!
//! ```text
//! cargo run --example middleware
//! ```
//!
//! `LoggingLayer` logs to the program's `tracing` subscriber; here there is none. A row can ask for
//! retries and a breaker too (`retry_max`, `breaker_failures`), separately for each route. The
//! layers here are for calls without such a row, and for state that all calls of a program share.
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

/// A transport whose server performs one scripted step per attempt.
#[derive(Clone, Debug, Default)]
struct Script(Arc<Mutex<VecDeque<Step>>>);

impl Script {
    fn push(&self, steps: &[Step]) {
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
            ServiceBuilder::new() // the first is the outermost
                .layer(LoggingLayer::new())
                .layer(RecoveryLayer::new())
                .layer(TimeoutLayer::new(Duration::from_secs(1))) // covers the whole call with all its attempts
                .layer(RetryLayer::new(2).backoff(Duration::from_millis(1)))
                .layer(BreakerLayer::new(breaker.clone())), // sees each attempt
        )
        .build()?;

    use Step::{Answer, Panic, Refuse, Silence};
    let cases: &[(&str, &[Step])] = &[
        ("refused twice, then answered", &[Refuse, Refuse, Answer]),
        ("a panic", &[Panic]),
        ("no answer in time", &[Silence]),
        ("refused for good", &[Refuse, Refuse]),
        ("once more", &[]),
    ];
    for (label, steps) in cases {
        script.push(steps);
        call_and_print(label, &router).await;
        assert!(script.steps().is_empty(), "each step was an attempt");
    }
    breaker.reset();
    script.push(&[Answer]);
    call_and_print("after a reset", &router).await;
    Ok(())
}

async fn call_and_print(label: &str, router: &Router) {
    match router.call("prices", "how much?").await {
        Ok(answer) => println!("{label}: {}", String::from_utf8_lossy(&answer)),
        Err(error) => println!("{label}: {}, sent: {}", error.kind(), error.sent().as_str()),
    }
}
