//! The summary of a run.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::journal::Counts;
use crate::meter::Tally;
use crate::strategy::Strategy;

/// The outcome of a run. With `--json` it is the last line.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    flips: u64,
    /// Answered or not, excluding orders.
    calls: u64,
    orders: u64,
    failed: u64,
    /// Checked calls that were not served as the row says.
    misrouted: u64,
    /// Calls without a flip between their start and their end.
    checked: u64,
    strategies: Strategies,
    far_end: SecondProcessCounts,
    /// The effects of the kill of the second process. Null if the run ended before it.
    kill: Option<Kill>,
    /// From the end of a statement until the router swapped its table.
    flip_in_force: Times,
}

#[derive(Debug, Serialize)]
struct Strategies {
    local: Times,
    http: Times,
    quic: Times,
    unix: Times,
    mcp: Times,
    noop: Times,
}

impl Strategies {
    /// Returns them in the order of [`Strategy::ALL`].
    fn all(&self) -> [&Times; Strategy::ALL.len()] {
        [&self.local, &self.http, &self.quic, &self.unix, &self.mcp, &self.noop]
    }

    /// Returns how many calls the second process answered.
    fn remote_calls(&self) -> u64 {
        [&self.http, &self.quic, &self.unix, &self.mcp].map(|times| times.calls).iter().sum()
    }
}

/// What the second process says it served. It must match what was counted here.
#[derive(Debug, Serialize)]
struct SecondProcessCounts {
    calls: u64,
    without_deadline: u64,
}

#[derive(Debug, Serialize)]
struct Kill {
    /// Calls that ended with an error that the kill explains.
    interrupted: u64,
    /// Interrupted calls that may have run, according to their error.
    may_have_run: u64,
    /// Calls in flight that the restarted process answered, because they are retryable.
    carried_over: u64,
    /// From the kill until the second process served on every wire again.
    back_after_ms: u64,
}

#[derive(Debug, Serialize)]
struct Times {
    calls: u64,
    p50_ns: u64,
    p99_ns: u64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { calls: histogram.len(), p50_ns: at(0.5), p99_ns: at(0.99) }
    }
}

impl Report {
    pub(crate) fn new(
        total: &Tally,
        flips: &Histogram<u64>,
        served: Counts,
        outage: Option<Duration>,
    ) -> Self {
        let [local, http, quic, unix, mcp, noop] =
            Strategy::ALL.map(|strategy| Times::of(&total.times_by_strategy(strategy)));
        let kill = outage.map(|outage| Kill {
            interrupted: total.interrupted,
            may_have_run: total.may_have_run,
            carried_over: total.carried_over,
            back_after_ms: outage.as_millis() as u64,
        });
        Self {
            flips: flips.len(),
            calls: total.calls(),
            orders: total.orders,
            failed: total.all_failed(),
            misrouted: total.misrouted,
            checked: total.checked,
            strategies: Strategies { local, http, quic, unix, mcp, noop },
            far_end: SecondProcessCounts {
                calls: served.calls,
                without_deadline: served.without_deadline,
            },
            kill,
            flip_in_force: Times::of(flips),
        }
    }

    /// Returns whether no call was lost, repeated or misrouted.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
            && self.misrouted == 0
            && self.journal_agrees()
            && self.far_end.without_deadline == 0
    }

    /// Returns whether the journal of the second process holds what it must.
    ///
    /// The process records a call before it runs it, so the journal holds every call that was
    /// answered. Only the kill can add more: each interrupted call that may have run adds one, and
    /// each retryable call in flight that was carried over adds one more. Without a kill the two
    /// are equal.
    fn journal_agrees(&self) -> bool {
        let answered = self.strategies.remote_calls();
        let more = self.kill.as_ref().map_or(0, |kill| kill.may_have_run + kill.carried_over);
        (answered..=answered + more).contains(&self.far_end.calls)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { strategies, far_end, flip_in_force, .. } = self;
        let counts =
            [self.flips, self.calls, self.orders, self.failed, self.misrouted].map(grouped);
        let [flips, calls, orders, failed, misrouted] = counts;
        writeln!(
            f,
            "{flips} flips, {calls} calls in {orders} orders, {failed} failed, {misrouted} misrouted"
        )?;
        for (strategy, times) in Strategy::ALL.into_iter().zip(strategies.all()) {
            writeln!(f, "  {:<6} {times}", strategy.as_str())?;
        }
        if flip_in_force.calls > 0 {
            let [p50, p99] = [flip_in_force.p50_ns, flip_in_force.p99_ns].map(nanos);
            writeln!(f, "  a flip was in force {p50} (p50) to {p99} (p99) after its statement")?;
        }
        if let Some(Kill { interrupted, may_have_run, carried_over, back_after_ms }) = &self.kill {
            let [interrupted, maybe, carried_over] =
                [*interrupted, *may_have_run, *carried_over].map(grouped);
            writeln!(
                f,
                "  the second process was killed: {interrupted} calls interrupted ({maybe} may have run),"
            )?;
            writeln!(
                f,
                "    {carried_over} carried over to the restarted one, which was back after {back_after_ms} ms"
            )?;
        }
        let (counted, answered) = (grouped(far_end.calls), grouped(strategies.remote_calls()));
        write!(
            f,
            "  the second process counted {counted} calls; {answered} were answered from there"
        )
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>14} calls   p50 {:>8}   p99 {:>8}",
            grouped(self.calls),
            nanos(self.p50_ns),
            nanos(self.p99_ns)
        )
    }
}

/// Formats a number with a comma after each thousand.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a time with three digits and its unit.
pub(crate) fn nanos(nanos: u64) -> String {
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (unit, size) =
        units.into_iter().rev().find(|&(_, size)| nanos as f64 >= size).unwrap_or(units[0]);
    let value = nanos as f64 / size;
    let digits = if value >= 100.0 || size == 1.0 { 0 } else { 1 };
    let mut text = String::new();
    let _ = write!(text, "{value:.digits$} {unit}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 42, 1_500, 250_000, 3_000_000].map(nanos),
            ["0 ns", "42 ns", "1.5 µs", "250 µs", "3.0 ms"]
        );
    }
}
