//! Billing moves to a second process and back, by one row, while orders come in.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adopting_functions_after::billing::{self, Billing, BillingClient, CLIENT, Stripe};
use connectivity_core::{Router, register};

struct SecondProcess(Child);

impl SecondProcess {
    /// Starts the process, and waits for its socket.
    fn start(path: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_adopting-functions-billing"))
            .arg(path)
            .spawn()
            .unwrap();
        let mut process = Self(child);
        while !path.exists() {
            assert!(process.0.try_wait().unwrap().is_none(), "it ended");
            std::thread::yield_now();
        }
        process
    }
}

impl SecondProcess {
    /// Asks the process to stop, as a service manager does, and returns whether it did so in order.
    fn stop(mut self) -> bool {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.0.wait().unwrap().success()
    }
}

impl Drop for SecondProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_moves_by_one_row_under_calls() {
    let dir = tempfile::tempdir().unwrap();
    let (routes, socket) = (dir.path().join("routes.db"), dir.path().join("billing.sock"));
    let second = SecondProcess::start(&socket);

    let router = Router::open_or_create(&routes).await.unwrap();
    register!(router, Billing => Stripe).unwrap();
    CLIENT.get_or_init(|| BillingClient::new(&router));
    let stop = Arc::new(AtomicBool::new(false));
    let customers: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut processes = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    processes.insert(billing::charge("17", 4_200).await.unwrap().process);
                    tokio::task::yield_now().await;
                }
                processes
            })
        })
        .collect();

    let shell = rusqlite::Connection::open(&routes).unwrap();
    let (here, there) = (std::process::id(), second.0.id());
    for (strategy, process) in [("unix", there), ("local", here)] {
        shell
            .execute(
                "UPDATE routes SET strategy = ?1, endpoint = ?2 WHERE service_name = 'billing'",
                (strategy, socket.to_str()),
            )
            .unwrap();
        while billing::charge("18", 100).await.unwrap().process != process {
            assert!(customers.iter().all(|customer| !customer.is_finished()), "a call failed");
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for customer in customers {
        seen.extend(customer.await.unwrap());
    }
    assert_eq!(seen, BTreeSet::from([here, there]));
    assert!(second.stop(), "no call was in flight there any more");
}
