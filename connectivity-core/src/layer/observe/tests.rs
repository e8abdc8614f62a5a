use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower::service_fn;

use super::series::MAX_SERIES;
use super::*;
use crate::layer::testing::{answer, call, poll_once, tagged};
use crate::name::Name;

/// Recorded count and sum, by metric name and labels.
type Recorded = Arc<Mutex<BTreeMap<String, (usize, f64)>>>;

#[derive(Default)]
struct Collector {
    recorded: Recorded,
    registered: Mutex<usize>,
}

struct Cell(Recorded, String);

impl Cell {
    fn add(&self, value: f64) {
        let mut recorded = self.0.lock().unwrap();
        let entry = recorded.entry(self.1.clone()).or_default();
        *entry = (entry.0 + 1, entry.1 + value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _value: u64) {}
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _value: f64) {}
    fn decrement(&self, _value: f64) {}
    fn set(&self, _value: f64) {}
}

impl Collector {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        *self.registered.lock().unwrap() += 1;
        let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
        Arc::new(Cell(
            Arc::clone(&self.recorded),
            format!("{}: {}", key.name(), labels.join(" | ")),
        ))
    }

    /// Returns the recorded lines without the common prefix of the metric names.
    fn lines(&self) -> Vec<String> {
        let recorded = self.recorded.lock().unwrap();
        let lines = recorded.iter().map(|(key, (count, sum))| format!("{key} = {count}, {sum}"));
        lines.map(|line| line.trim_start_matches("connectivity_call_").to_owned()).collect()
    }
}

impl Recorder for Collector {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.cell(key))
    }
}

/// Runs a test with its own recorder and a paused clock.
fn collected<F: Future>(test: impl FnOnce() -> F) -> (F::Output, Collector) {
    let collector = Collector::default();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let output = metrics::with_local_recorder(&collector, || runtime.block_on(test()));
    (output, collector)
}

const SECOND: Duration = Duration::from_secs(1);

async fn observe(
    layer: &ObserveLayer,
    call: Call,
    reply: impl FnOnce(&Call) -> Result<Reply, Error> + Clone,
) {
    let inner = service_fn(move |call: Call| {
        let reply = reply.clone();
        async move {
            tokio::time::sleep(SECOND).await;
            reply(&call)
        }
    });
    drop(layer.layer(inner).call(call).await);
}

#[test]
fn calls_are_timed_and_failures_counted_by_how_they_ended() {
    let layer = ObserveLayer::new();
    let ((), collector) = collected(|| async {
        observe(&layer, tagged("quic"), |_call| answer()).await;
        observe(&layer.clone(), tagged("quic"), |_call| answer()).await;
        observe(&layer, tagged("local"), |_call| Ok(Reply::encoded(crate::Codec::Json, "1", true)))
            .await;
        observe(&layer, tagged("quic"), |call| Err(call.failed(ErrorKind::Connect, "refused")))
            .await;
    });
    assert_eq!(
        collector.lines(),
        [
            "duration_seconds: billing.quote |  | local | app_error = 1, 1",
            "duration_seconds: billing.quote |  | quic | connect = 1, 1",
            "duration_seconds: billing.quote |  | quic | ok = 2, 2",
            "failures_total: billing.quote |  | quic | connect = 1, 1",
        ]
    );
    assert_eq!(*collector.registered.lock().unwrap(), 4, "handles are kept");
}

#[test]
fn a_call_that_nobody_waits_for_is_cancelled() {
    let ((), collector) = collected(|| async {
        let inner = service_fn(|_call| std::future::pending::<Result<Reply, Error>>());
        let mut dropped =
            std::pin::pin!(Some(ObserveLayer::new().layer(inner).call(tagged("quic"))));
        assert!(poll_once(dropped.as_mut().as_pin_mut().unwrap()).is_pending());
        tokio::time::advance(SECOND).await;
        dropped.set(None);
    });
    let lines = collector.lines();
    assert_eq!(lines[0], "duration_seconds: billing.quote |  | quic | cancelled = 1, 1");
    assert_eq!(lines[1], "failures_total: billing.quote |  | quic | cancelled = 1, 1");
}

#[test]
fn a_name_that_nobody_knows_makes_no_series() {
    let layer = ObserveLayer::new();
    let ((), collector) = collected(|| async {
        for number in 0..50 {
            let name = Name::parse(&format!("made.up-{number}")).unwrap();
            observe(&layer, Call::raw(name.clone(), ""), |_call| answer()).await;
            let mut below_row = Call::raw(name, "");
            below_row.set_route(tagged("http").shared_route().unwrap());
            observe(&layer, below_row, |_call| answer()).await;
        }
        observe(&layer, call(), |_call| answer()).await;
    });
    assert_eq!(
        collector.lines(),
        [
            "duration_seconds: billing.quote | other | http | ok = 50, 50",
            "duration_seconds: other | other | other | ok = 51, 51",
        ]
    );
}

#[test]
fn the_number_of_series_has_an_end() {
    let layer = ObserveLayer::new();
    let ((), collector) = collected(|| async {
        for number in 0..MAX_SERIES + 7 {
            observe(&layer, tagged(&format!("transport-{number}")), |_call| answer()).await;
        }
        observe(&layer, tagged("transport-3"), |_call| answer()).await;
    });
    let lines = collector.lines();
    assert_eq!(lines.len(), MAX_SERIES + 1);
    assert!(lines.contains(&"duration_seconds: other | other | other | ok = 7, 7".to_owned()));
    assert!(
        lines.contains(&"duration_seconds: billing.quote |  | transport-3 | ok = 2, 2".to_owned())
    );
}
