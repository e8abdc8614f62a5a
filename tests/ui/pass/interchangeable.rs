//! An implementation, a client, an `Arc` and a trait object are interchangeable to a caller, also
//! in a spawned task.
#![deny(warnings)]

use std::sync::Arc;

use connectivity_core::{Error, service};

#[service(dyn = DynCounter)]
pub trait Counter {
    async fn count(&self, text: &str) -> Result<usize, Error>;
}

struct Here;

impl Counter for Here {
    async fn count(&self, text: &str) -> Result<usize, Error> {
        tokio::task::yield_now().await;
        Ok(text.len())
    }
}

async fn total(counter: impl Counter, texts: &[String]) -> usize {
    let mut total = 0;
    for text in texts {
        total += counter.count(text).await.unwrap_or(0);
    }
    total
}

async fn spawned<C: Counter>(counter: C) -> usize {
    tokio::spawn(async move { total(counter, &["a".to_owned(), "bc".to_owned()]).await }).await.unwrap_or(0)
}

#[tokio::main]
async fn main() {
    let object: Arc<dyn DynCounter> = Arc::new(Here);
    let client = CounterClient::direct(object.clone());
    assert_eq!(spawned(Here).await, 3);
    assert_eq!(spawned(Arc::new(Here)).await, 3);
    assert_eq!(spawned(object.clone()).await, 3);
    assert_eq!(spawned(client.clone()).await, 3);
    assert_eq!(spawned(CounterClient::direct(client)).await, 3);
    assert_eq!(object.count("abcd").await, Ok(4));
    let nested: Arc<dyn DynCounter> = Arc::new(CounterClient::direct(object));
    assert_eq!(nested.count("abcd").await, Ok(4));
}
