//! Load generation: concurrent callers and their measurements.

use std::future::Future;
use std::time::{Duration, Instant};

/// A client that echoes 32 bytes.
pub trait Echo: Clone + Send + Sync + 'static {
    fn echo(&self) -> impl Future<Output = ()> + Send;
}

/// The throughput and latency of a run.
pub struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Measured {
    pub fn p50_us(&self) -> f64 {
        self.p50.as_secs_f64() * 1e6
    }

    pub fn p99_us(&self) -> f64 {
        self.p99.as_secs_f64() * 1e6
    }
}

/// Runs this many callers for `time`. Each caller awaits its reply before the next call.
pub async fn load(echo: &impl Echo, callers: usize, time: Duration) -> Measured {
    let began = Instant::now();
    let end = began + time;
    let tasks: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(echo.clone(), end))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let took = began.elapsed();
    all.sort_unstable();
    Measured {
        per_second: all.len() as f64 / took.as_secs_f64(),
        p50: all[all.len() / 2],
        p99: all[all.len() * 99 / 100],
    }
}

async fn caller(echo: impl Echo, end: Instant) -> Vec<Duration> {
    let mut times = Vec::with_capacity(1 << 14);
    loop {
        let start = Instant::now();
        echo.echo().await;
        let now = Instant::now();
        times.push(now - start);
        if now > end {
            return times;
        }
    }
}
