//! A real second process that is killed, stopped and restarted.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use connectivity_core::{Error, ErrorKind, HttpTransport, MemoryRoutes, Router, Sent};
use tests::certificates::{Files, Identity};
use tests::shop::*;

const STRATEGIES: [&str; 3] = ["http", "unix", "quic"];

/// A process that serves `billing`, and a router with a row for it.
struct World {
    strategy: &'static str,
    dir: tempfile::TempDir,
    address: String,
    server: Option<Child>,
    client: Router,
    routes: MemoryRoutes,
    billing: BillingClient,
    config: String,
    /// Paths of the certificate and its key, if the process keeps them across restarts.
    identity: Vec<PathBuf>,
}

impl World {
    async fn new(strategy: &'static str, config: &str) -> Self {
        Self::with_identity(strategy, config, Vec::new()).await
    }

    async fn with_identity(strategy: &'static str, config: &str, identity: Vec<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = match strategy {
            "unix" => dir.path().join("far.sock").display().to_string(),
            _ => "127.0.0.1:0".to_owned(),
        };
        let routes = MemoryRoutes::new();
        let http = HttpTransport::new().allow_internal();
        let client =
            Router::builder().source(routes.clone()).transport("http", http).build().unwrap();
        let billing = BillingClient::new(&client);
        let config = config.to_owned();
        let mut world = Self {
            strategy,
            dir,
            address,
            server: None,
            client,
            routes,
            billing,
            config,
            identity,
        };
        world.start().await;
        world
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// Starts the process at its previous address, and updates the row with the address and pin
    /// that it prints.
    async fn start(&mut self) {
        let mut server = Command::new(env!("CARGO_BIN_EXE_billing-server"))
            .args([self.strategy, &self.address])
            .arg(self.journal())
            .args(&self.identity)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, pin) = line.trim_end_matches('\n').split_once(' ').unwrap();
        self.address = address.to_owned();
        self.server = Some(server);
        let endpoint = if self.strategy == "http" {
            format!("http://{address}/billing")
        } else {
            address.to_owned()
        };
        let pin = if pin.is_empty() { String::new() } else { format!(r#","pin_sha256":"{pin}""#) };
        let config = format!("{{{}{pin}}}", self.config);
        self.routes.set("billing", self.strategy, Some(&endpoint), &config);
        self.client.reload().await.unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Stops the process with SIGSTOP and waits until all its threads have stopped.
    async fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.server.as_ref().unwrap().id());
        let has_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        };
        let start = Instant::now();
        while !std::fs::read_dir(&tasks).unwrap().all(has_stopped) {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not stop");
            tokio::task::yield_now().await;
        }
    }

    /// Counts how often each order is in the journal of the other process.
    fn run_counts(&self) -> HashMap<String, usize> {
        let mut run_counts = HashMap::new();
        for order in std::fs::read_to_string(self.journal()).unwrap_or_default().lines() {
            *run_counts.entry(order.to_owned()).or_default() += 1;
        }
        run_counts
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

/// Kills four processes five times each, with 200 calls in flight per kill: every call ends in
/// time, and none runs twice.
async fn kill_processes(strategy: &'static str) {
    let processes: Vec<_> = (0..4).map(|_| tokio::spawn(kill_one_process(strategy))).collect();
    for process in processes {
        process.await.unwrap();
    }
}

async fn kill_one_process(strategy: &'static str) {
    const KILLS: usize = 5;
    const CALLS: usize = 200;
    let mut world = World::new(strategy, r#""timeout_ms":10000"#).await;
    let (mut answered, mut interrupted) = (0, 0);
    for kill in 0..KILLS {
        let began = Instant::now();
        let calls: Vec<_> = (0..CALLS)
            .map(|n| {
                let billing = world.billing.clone();
                let order = format!("{kill}-{n}");
                tokio::spawn(async move { (billing.work(&order, n as u64 % 10).await, order) })
            })
            .collect();
        while world
            .run_counts()
            .keys()
            .filter(|order| order.starts_with(&format!("{kill}-")))
            .count()
            < CALLS / 2
        {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{strategy}: the calls do not arrive"
            );
            tokio::task::yield_now().await;
        }
        world.kill();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{strategy}: a call did not end in time"
        );
        let run_counts = world.run_counts();
        for (outcome, order) in outcomes {
            let times = run_counts.get(&order).copied().unwrap_or(0);
            match outcome.map_err(connectivity) {
                Ok(()) => {
                    answered += 1;
                    assert_eq!(times, 1, "{strategy}: {order} was answered");
                }
                Err(error) => {
                    interrupted += 1;
                    assert!(times <= 1, "{strategy}: {order} ran {times} times");
                    assert!(
                        error.sent() != Sent::No || times == 0,
                        "{strategy}: {order} ran, and is said not to: {error}"
                    );
                }
            }
        }
        world.start().await;
        let first = world.billing.quote("x").await;
        assert!(first.is_ok(), "{strategy}: the first call after it is up: {first:?}");
    }
    assert_eq!(answered + interrupted, KILLS * CALLS);
    assert!(interrupted > 0, "{strategy}: the kills hit nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_over_http_account_for_every_call() {
    kill_processes("http").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_over_unix_account_for_every_call() {
    kill_processes("unix").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_over_quic_account_for_every_call() {
    kill_processes("quic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_costs_each_call_its_timeout_and_no_more() {
    for strategy in STRATEGIES {
        let world = World::new(strategy, r#""timeout_ms":1000"#).await;
        assert!(world.billing.quote("x").await.is_ok());
        world.stop().await;
        let began = Instant::now();
        let calls: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn({
                    let billing = world.billing.clone();
                    async move { billing.charge("17", 1).await }
                })
            })
            .collect();
        for call in calls {
            let error = connectivity(call.await.unwrap().unwrap_err());
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Timeout, Sent::Maybe),
                "{strategy}"
            );
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "{strategy}");
        world.signal("-CONT");
        let start = Instant::now();
        while world.billing.quote("x").await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{strategy}: it goes on by itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_call_goes_on_with_the_next_process() {
    for strategy in ["unix"] {
        let mut world = World::new(strategy, r#""timeout_ms":20000,"retry_max":2"#).await;
        let call = tokio::spawn({
            let billing = world.billing.clone();
            async move { billing.rework("again", 300).await }
        });
        let start = Instant::now();
        while world.run_counts().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        world.signal("-STOP");
        // The new process takes over the socket before the old one dies.
        let mut old = world.server.take().unwrap();
        std::fs::remove_file(&world.address).unwrap();
        world.start().await;
        old.kill().unwrap();
        old.wait().unwrap();
        assert_eq!(call.await.unwrap(), Ok(()), "{strategy}");
        assert_eq!(world.run_counts()["again"], 2, "{strategy}: it may be repeated");
    }
}

/// A restarted process that has kept its certificate sends stateless resets to clients of the
/// previous process, so that they do not wait for the idle timeout of their connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_quic_process_is_noticed_at_once() {
    let (files, identity) = (Files::new(), Identity::new(None, "localhost", |_| {}));
    let identity =
        vec![files.write("cert.pem", &identity.cert), files.write("key.pem", &identity.key)];
    let mut world =
        World::with_identity("quic", r#""timeout_ms":20000,"retry_max":1"#, identity).await;
    assert!(world.billing.quote("x").await.is_ok());
    world.kill();
    world.start().await;
    let began = Instant::now();
    assert!(world.billing.quote("x").await.is_ok(), "it goes again, on the next connection");
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
}
