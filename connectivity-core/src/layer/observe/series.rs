//! Cache of metric series: each series is looked up once, then reused.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, Histogram, Label, Unit};

use crate::call::{Call, MethodDesc, RouteTag};
use crate::fast_hash::FastHasher;
use crate::layer::outcome::Outcome;
use crate::name::Name;

const DURATION: &str = "connectivity_call_duration_seconds";
const FAILURES: &str = "connectivity_call_failures_total";

/// Label value that replaces a name chosen by the caller alone.
const OTHER: &str = "other";

/// Upper bound of the series: a recorder keeps a series forever, and a histogram is not small.
pub(super) const MAX_SERIES: usize = 1_000;

/// What a series is about: a name that a contract or a row declares.
#[derive(Clone, Copy)]
enum Subject<'a> {
    /// A method whose contract is known in this process.
    Method(&'static MethodDesc),
    /// A row called by its own name.
    Row(&'a Name),
    /// A name below a row, declared only by the caller.
    Below(&'a Name),
}

impl<'a> Subject<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        if let Some(method) = call.method() {
            return Some(Self::Method(method));
        }
        let row = call.route()?.name();
        Some(if row == call.full_name() { Self::Row(row) } else { Self::Below(row) })
    }

    fn key(self) -> &'a str {
        match self {
            Self::Method(method) => method.full_name(),
            Self::Row(row) | Self::Below(row) => row.as_str(),
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Method(method) => method.name(),
            Self::Row(_) => "",
            Self::Below(_) => OTHER,
        }
    }

    fn to_series(self, strategy: &str) -> (Name, Series) {
        let (name, service) = match self {
            Self::Method(method) => {
                (Name::from_static(method.full_name()), Name::from_static(method.service()))
            }
            Self::Row(row) | Self::Below(row) => (row.clone(), row.clone()),
        };
        (name, Series::new(service.as_str(), self.method(), strategy))
    }
}

/// All series that have recorded a call.
pub(super) struct AllSeries {
    by_subject: ArcSwap<SeriesMap>,
    /// Series of undeclared names, and of everything over the limit.
    overflow: Arc<Series>,
}

/// Series by the name of their method or row; each name has one entry per strategy.
#[derive(Clone, Default)]
struct SeriesMap {
    by_name: HashMap<Name, Vec<Arc<Series>>, BuildHasherDefault<FastHasher>>,
    count: usize,
}

impl SeriesMap {
    fn find(&self, subject: Subject<'_>, strategy: &str) -> Option<&Arc<Series>> {
        let mut of_name = self.by_name.get(subject.key())?.iter();
        of_name.find(|series| series.method == subject.method() && *series.strategy == *strategy)
    }
}

impl AllSeries {
    /// Returns the series of a call, with a lock-free map lookup.
    pub(super) fn series_of(&self, call: &Call) -> Arc<Series> {
        let Some(subject) = Subject::of(call) else { return Arc::clone(&self.overflow) };
        let strategy = call.route().map_or(OTHER, RouteTag::strategy);
        match self.by_subject.load().find(subject, strategy) {
            Some(series) => Arc::clone(series),
            None => self.add(subject, strategy),
        }
    }

    #[cold]
    fn add(&self, subject: Subject<'_>, strategy: &str) -> Arc<Series> {
        let (name, series) = subject.to_series(strategy);
        let series = Arc::new(series);
        self.by_subject.rcu(|by_subject| {
            if by_subject.count >= MAX_SERIES || by_subject.find(subject, strategy).is_some() {
                return Arc::clone(by_subject);
            }
            let mut next = SeriesMap::clone(by_subject);
            next.by_name.entry(name.clone()).or_default().push(Arc::clone(&series));
            next.count += 1;
            Arc::new(next)
        });
        Arc::clone(self.by_subject.load().find(subject, strategy).unwrap_or(&self.overflow))
    }
}

impl Default for AllSeries {
    fn default() -> Self {
        Self {
            by_subject: ArcSwap::default(),
            overflow: Arc::new(Series::new(OTHER, OTHER, OTHER)),
        }
    }
}

impl fmt::Debug for AllSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllSeries")
            .field("count", &self.by_subject.load().count)
            .finish_non_exhaustive()
    }
}

/// Metrics of one method on one strategy.
pub(super) struct Series {
    service: Box<str>,
    method: &'static str,
    strategy: Box<str>,
    /// Handles of the recorder, registered per outcome on first use.
    outcomes: [OnceLock<Handles>; Outcome::COUNT],
}

struct Handles {
    duration: Histogram,
    failures: Option<Counter>,
}

impl Series {
    fn new(service: &str, method: &'static str, strategy: &str) -> Self {
        let outcomes = std::array::from_fn(|_| OnceLock::new());
        Self { service: service.into(), method, strategy: strategy.into(), outcomes }
    }

    pub(super) fn record(&self, outcome: Outcome, duration: Duration) {
        let Some(handles) = self.outcomes.get(outcome.index()) else { return };
        let handles = handles.get_or_init(|| self.handles(outcome));
        handles.duration.record(duration.as_secs_f64());
        if let Some(failures) = &handles.failures {
            failures.increment(1);
        }
    }

    #[cold]
    fn handles(&self, outcome: Outcome) -> Handles {
        metrics::describe_histogram!(DURATION, Unit::Seconds, "how long calls took");
        metrics::describe_counter!(FAILURES, Unit::Count, "calls that got no answer");
        let labels = vec![
            Label::new("service", self.service.to_string()),
            Label::from_static_parts("method", self.method),
            Label::new("strategy", self.strategy.to_string()),
            Label::from_static_parts("outcome", outcome.as_str()),
        ];
        Handles {
            duration: metrics::histogram!(DURATION, labels.clone()),
            failures: outcome.is_failure().then(|| metrics::counter!(FAILURES, labels)),
        }
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, method, strategy, .. } = self;
        f.debug_struct("Series")
            .field("service", service)
            .field("method", method)
            .field("strategy", strategy)
            .finish_non_exhaustive()
    }
}
