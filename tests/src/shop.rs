//! The contract that the tests call, and an implementation that reports where it ran.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connectivity_core::{Error, MemoryRoutes, Router, context, service};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub id: String,
    pub cents: u64,
    pub served_by: String,
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum BillingError {
    #[error("card declined")]
    Declined,
    #[error(transparent)]
    Connectivity(#[from] Error),
}

#[service(dyn = DynBilling)]
pub trait Billing {
    /// Charges an order.
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;
    /// Returns the price of an order.
    #[idempotent]
    #[noop = 7]
    async fn quote(&self, order: &str) -> Result<u64, BillingError>;
    /// Sleeps.
    async fn sleep(&self, ms: u64) -> Result<(), BillingError>;
    /// Writes the order to the journal, then sleeps.
    async fn work(&self, order: &str, ms: u64) -> Result<(), BillingError>;
    /// Does the same as `work`, but may be retried.
    #[idempotent]
    async fn rework(&self, order: &str, ms: u64) -> Result<(), BillingError>;
    /// Sleeps even if its caller is gone.
    #[no_cancel]
    async fn audit(&self, ms: u64) -> Result<(), BillingError>;
    /// Fails as requested.
    async fn fail(&self, how: Failure) -> Result<(), BillingError>;
    /// Returns what the implementation sees of its call.
    #[readonly]
    async fn seen(&self) -> Result<Seen, BillingError>;
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Failure {
    Declined,
    Panic,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub tenant: Option<String>,
    pub peer: Option<String>,
    pub remaining_ms: Option<u64>,
}

/// Counts the calls that started and ended in one implementation: the server's own journal.
#[derive(Debug, Default)]
pub struct Journal {
    pub began: AtomicUsize,
    pub ended: AtomicUsize,
    pub orders: Mutex<Vec<String>>,
}

impl Journal {
    pub fn began(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Debug)]
pub struct Shop {
    pub name: &'static str,
    pub journal: Arc<Journal>,
    file: Option<Arc<File>>,
}

impl Shop {
    pub fn at(name: &'static str) -> Self {
        Self { name, journal: Arc::default(), file: None }
    }

    /// Also appends each order to a file before anything else happens, so that the journal survives
    /// a kill.
    pub fn with_file(self, path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { file: Some(Arc::new(file)), ..self }
    }

    fn note(&self, order: &str) {
        self.journal.orders.lock().unwrap().push(order.to_owned());
        if let Some(file) = &self.file {
            (&**file).write_all(format!("{order}\n").as_bytes()).unwrap();
        }
    }

    async fn pause(&self, ms: u64) {
        self.journal.began.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.journal.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Billing for Shop {
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        self.note(order);
        Ok(Receipt { id: order.to_owned(), cents, served_by: self.name.to_owned() })
    }

    async fn quote(&self, order: &str) -> Result<u64, BillingError> {
        Ok(order.len() as u64)
    }

    async fn sleep(&self, ms: u64) -> Result<(), BillingError> {
        self.pause(ms).await;
        Ok(())
    }

    async fn work(&self, order: &str, ms: u64) -> Result<(), BillingError> {
        self.note(order);
        self.pause(ms).await;
        Ok(())
    }

    async fn rework(&self, order: &str, ms: u64) -> Result<(), BillingError> {
        self.work(order, ms).await
    }

    async fn audit(&self, ms: u64) -> Result<(), BillingError> {
        self.pause(ms).await;
        Ok(())
    }

    async fn fail(&self, how: Failure) -> Result<(), BillingError> {
        match how {
            Failure::Declined => Err(BillingError::Declined),
            Failure::Panic => panic!("secret text of a panic"),
        }
    }

    async fn seen(&self) -> Result<Seen, BillingError> {
        let context = context::current();
        Ok(Seen {
            tenant: context.meta("tenant").map(str::to_owned),
            peer: context.peer().map(|peer| peer.name().to_owned()),
            remaining_ms: context.remaining().map(|left| left.as_millis() as u64),
        })
    }
}

/// Returns a router with rows in memory.
pub fn router(routes: &MemoryRoutes) -> Router {
    Router::builder().source(routes.clone()).build().unwrap()
}
