//! The output: a table that is redrawn in place, or plain lines without a terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use connectivity_core::Inspection;
use hdrhistogram::Histogram;

use crate::flips::Flipped;
use crate::meter::{Method, Tally};
use crate::report::{grouped, nanos};
use crate::strategy::Strategy;

/// Number of statements shown below the table.
const STATEMENTS: usize = 4;

/// How often a summary line is written without a terminal.
const SUMMARY: Duration = Duration::from_secs(5);

/// Truncates long lines instead of wrapping them, so that the height of the frame is known.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR_BELOW: &str = "\x1b[J";

/// Writes to the terminal or the log.
pub(crate) struct Screen {
    out: Box<dyn Write>,
    live: bool,
    height: usize,
    statements: VecDeque<String>,
    /// Measurements since the last summary.
    unsummed: (Tally, Duration),
}

/// The data of one frame.
pub(crate) struct Frame<'a> {
    pub(crate) heading: String,
    pub(crate) inspection: Inspection,
    /// Recent measurements, and the time that they cover.
    pub(crate) recent: &'a Tally,
    pub(crate) within: Duration,
    pub(crate) total: &'a Tally,
    pub(crate) flips: u64,
}

impl Screen {
    /// Writes to stdout, or to stderr if stdout carries JSON.
    pub(crate) fn new(json: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let live = if json { stderr.is_terminal() } else { stdout.is_terminal() };
        let out: Box<dyn Write> = if json { Box::new(stderr) } else { Box::new(stdout) };
        Self { out, live, height: 0, statements: VecDeque::new(), unsummed: Default::default() }
    }

    /// Writes permanent lines.
    pub(crate) fn say(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
        self.height = 0;
    }

    /// Shows a flip.
    pub(crate) fn flipped(&mut self, flipped: &Flipped) {
        let after = flipped.in_force_after.map(|after| nanos(after.as_nanos() as u64));
        let remark =
            after.map_or_else(String::new, |after| format!("   -- in force after {after}"));
        if !self.live {
            self.say(&format!("{}{remark}", flipped.sql));
            return;
        }
        // Two lines and a short pin, so that it fits into a narrow terminal.
        let sql = short_pin(&flipped.sql)
            .replace(" WHERE ", "\n   WHERE ")
            .replace(" VALUES ", "\n   VALUES ");
        self.keep(sql + &remark);
    }

    /// Shows any other event.
    pub(crate) fn note(&mut self, text: &str) {
        if self.live {
            self.keep(text.to_owned());
        } else {
            self.say(text);
        }
    }

    fn keep(&mut self, statement: String) {
        self.statements.push_back(statement);
        if self.statements.len() > STATEMENTS {
            self.statements.pop_front();
        }
    }

    /// Shows a frame: as a table in a terminal, else as a line every 5 s.
    pub(crate) fn show(&mut self, frame: &Frame<'_>) {
        if self.live {
            self.draw(frame);
            return;
        }
        self.unsummed.0.add(frame.recent);
        self.unsummed.1 += frame.within;
        if self.unsummed.1 >= SUMMARY {
            let (tally, within) = std::mem::take(&mut self.unsummed);
            self.say(&summary(&tally, within, frame.total));
        }
    }

    fn draw(&mut self, frame: &Frame<'_>) {
        let mut text = format!("{}\n\n{}\n\n{}\n", frame.heading, table(frame), totals(frame));
        for statement in &self.statements {
            let _ = writeln!(text, "{statement}");
        }
        let up = if self.height == 0 {
            String::new()
        } else {
            format!("\x1b[{}F{CLEAR_BELOW}", self.height)
        };
        self.write(&format!("{up}{NO_WRAP}{text}{WRAP}"));
        self.height = text.lines().count();
    }

    /// A closed reader, such as `head`, is no reason to stop.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Shortens the digest in a statement. It cannot be copied from a table that is redrawn anyway.
fn short_pin(sql: &str) -> String {
    const BEFORE: &str = "'pin_sha256', '";
    let cut = sql.find(BEFORE).map(|at| at + BEFORE.len() + 8);
    let end = cut.and_then(|cut| sql[cut..].find('\'').map(|at| cut + at));
    match (cut, end) {
        (Some(cut), Some(end)) => format!("{}..{}", &sql[..cut], &sql[end..]),
        _ => sql.to_owned(),
    }
}

fn totals(frame: &Frame<'_>) -> String {
    let total = frame.total;
    let counts =
        [frame.flips, total.calls(), total.all_failed(), total.misrouted, total.interrupted];
    let [flips, calls, failed, misrouted, interrupted] = counts.map(grouped);
    format!(
        "{flips} flips, {calls} calls, {failed} failed, {misrouted} misrouted, {interrupted} interrupted"
    )
}

fn summary(tally: &Tally, within: Duration, total: &Tally) -> String {
    let mut text = format!("-- {} calls/s", per_second(tally.calls(), within));
    for strategy in Strategy::ALL {
        let times = tally.times_by_strategy(strategy);
        if !times.is_empty() {
            let [p50, p99] = [0.5, 0.99].map(|quantile| nanos(times.value_at_quantile(quantile)));
            let _ = write!(text, ", {} p50 {p50} p99 {p99}", strategy.as_str());
        }
    }
    let [failed, misrouted, interrupted] =
        [total.all_failed(), total.misrouted, total.interrupted].map(grouped);
    let _ = write!(text, ", {failed} failed, {misrouted} misrouted, {interrupted} interrupted");
    text
}

fn table(frame: &Frame<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["method", "row", "strategy", "calls/s", "p50", "p99", "failed", "endpoint"]);
    for method in Method::ALL {
        table.add_row(row(method, frame));
    }
    table
}

fn row(method: Method, frame: &Frame<'_>) -> Vec<Cell> {
    let route = method.rows().into_iter().find_map(|row| frame.inspection.route(row));
    let word = route.and_then(|route| route.strategy.as_deref()).unwrap_or("-");
    let strategy = Strategy::parse(word);
    let endpoint = route
        .and_then(|route| route.endpoint.as_deref())
        .filter(|_| strategy.is_some_and(Strategy::is_remote))
        .unwrap_or("");
    let times = strategy.and_then(|strategy| frame.recent.times(method, strategy));
    let time = |quantile| {
        times.map_or_else(
            || "-".to_owned(),
            |times: &Histogram<u64>| nanos(times.value_at_quantile(quantile)),
        )
    };
    // Cells are padded to their maximum width, so that the table keeps its shape. The column that a
    // narrow terminal truncates comes last.
    vec![
        Cell::new(method.rows()[0]),
        Cell::new(format!("{:<13}", route.map_or("-", |route| &route.name))),
        Cell::new(word),
        right(&per_second(frame.recent.answered(method), frame.within), 9),
        right(&time(0.5), 7),
        right(&time(0.99), 7),
        right(&grouped(frame.total.failed(method)), 6),
        Cell::new(format!("{endpoint:<36}")),
    ]
}

fn right(text: &str, width: usize) -> Cell {
    Cell::new(format!("{text:>width$}")).set_alignment(CellAlignment::Right)
}

/// Formats a rate per second.
pub(crate) fn per_second(count: u64, within: Duration) -> String {
    grouped((count as f64 / within.as_secs_f64().max(f64::EPSILON)) as u64)
}
