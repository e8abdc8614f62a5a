//! Retries along a chain of routers.

use std::time::Instant;

use super::*;

/// Forwards every call.
struct Relay(BillingClient);

impl Billing for Relay {
    async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError> {
        self.0.charge(order, cents).await
    }
    async fn quote(&self, order: &str) -> Result<u64, BillingError> {
        self.0.quote(order).await
    }
    async fn sleep(&self, ms: u64) -> Result<(), BillingError> {
        self.0.sleep(ms).await
    }
    async fn work(&self, order: &str, ms: u64) -> Result<(), BillingError> {
        self.0.work(order, ms).await
    }
    async fn rework(&self, order: &str, ms: u64) -> Result<(), BillingError> {
        self.0.rework(order, ms).await
    }
    async fn audit(&self, ms: u64) -> Result<(), BillingError> {
        self.0.audit(ms).await
    }
    async fn fail(&self, how: Failure) -> Result<(), BillingError> {
        self.0.fail(how).await
    }
    async fn seen(&self) -> Result<Seen, BillingError> {
        self.0.seen().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_do_not_multiply_along_a_chain_of_routers() {
    const RETRY: &str = r#"{"retry_max":3,"retry_backoff_ms":1}"#;
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = [World::new(), World::new(), World::new()];
    third.row("count", &closed_port(), RETRY).await;
    let mut servers = Vec::new();
    for (client, server, socket) in [(&second, &third, "third"), (&first, &second, "second")] {
        let served = router(&MemoryRoutes::new());
        register!(served, Billing => Relay(server.billing.clone())).unwrap();
        servers.push(start_server(&served, &dir.path().join(socket)).await);
        client.row("unix", &dir.path().join(socket).display().to_string(), RETRY).await;
    }
    let began = Instant::now();
    for _ in 0..500 {
        assert_eq!(kind(first.quote().await), Some(ErrorKind::Connect), "what the last one met");
    }
    // A budget grows by ten a second, so a slow machine makes more attempts.
    let allowed = 750 + 10 * began.elapsed().as_secs();
    let attempts = third.attempts.count();
    assert!(attempts > 500 && attempts as u64 <= allowed, "{attempts} attempts at the last one");
}
