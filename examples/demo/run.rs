//! One run, from the empty routes file to the summary.

use std::error::Error;
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::Arguments;
use crate::customers::{CUSTOMERS, Customers, WHOLESALERS};
use crate::flips::{Driver, Event, Flipped};
use crate::keep::Keep;
use crate::meter::{Tally, histogram};
use crate::monolith::Monolith;
use crate::report::Report;
use crate::screen::{Frame, Screen, per_second};
use crate::signals;

/// How often the screen is updated.
const TICK: Duration = Duration::from_millis(500);

/// Runs the demo.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // Installed first, so that Ctrl-C never ends the program half way.
    let asked_to_end = tokio::spawn(signals::asked_to_end());
    let monolith = Monolith::open().await?;
    let mut screen = Screen::new(arguments.json);
    let report = if arguments.keep {
        keep(&monolith, &mut screen, asked_to_end).await
    } else {
        flip(&monolith, &mut screen, asked_to_end, Duration::from_secs(arguments.seconds)).await
    };
    monolith.close().await?;
    let report = report?;
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        screen.say(&report.to_string());
    }
    // A user who changes rows by hand may route calls anywhere.
    Ok(if arguments.keep || report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sells while rows are flipped, until the time limit or a request to end.
async fn flip(
    monolith: &Monolith,
    screen: &mut Screen,
    asked_to_end: JoinHandle<()>,
    limit: Duration,
) -> Result<Report, Box<dyn Error>> {
    let (driver, flips) = Driver::start(monolith, limit / 2)?;
    let mut run = Run::start(monolith, screen, flips);
    run.until(async {
        tokio::select! {
            () = sleep(limit) => {}
            _ = asked_to_end => {}
        }
    })
    .await;
    let flipped = tokio::task::spawn_blocking(|| driver.stop()).await?;
    let report = run.finish().await;
    flipped?;
    report
}

/// Sells until asked to end, and leaves the rows to the user.
async fn keep(
    monolith: &Monolith,
    screen: &mut Screen,
    asked_to_end: JoinHandle<()>,
) -> Result<Report, Box<dyn Error>> {
    let (keep, changes) = Keep::start(monolith).await?;
    screen.say(&keep.hints(monolith));
    let mut run = Run::start(monolith, screen, changes);
    run.until(async { drop(asked_to_end.await) }).await;
    keep.end().await;
    run.finish().await
}

/// The running customers, their measurements, and the screen.
struct Run<'a> {
    monolith: &'a Monolith,
    screen: &'a mut Screen,
    customers: Customers,
    events: UnboundedReceiver<Event>,
    in_force: Histogram<u64>,
    total: Tally,
    began: Instant,
    taken: Instant,
}

impl<'a> Run<'a> {
    fn start(
        monolith: &'a Monolith,
        screen: &'a mut Screen,
        events: UnboundedReceiver<Event>,
    ) -> Self {
        let (customers, now) =
            (Customers::start(&monolith.orders(), &monolith.meter), Instant::now());
        let (in_force, total) = (histogram(), Tally::default());
        Self { monolith, screen, customers, events, in_force, total, began: now, taken: now }
    }

    /// Shows events until `end` resolves or a flip fails.
    async fn until(&mut self, end: impl Future<Output = ()>) {
        let (mut end, mut ticks) = (pin!(end), interval(TICK));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = &mut end => return,
                event = self.events.recv() => match event {
                    Some(event) => self.report(&event),
                    None => return,
                },
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn report(&mut self, event: &Event) {
        match event {
            Event::Flip(flipped) => self.flipped(flipped),
            Event::Note(text) => self.screen.note(text),
        }
    }

    fn flipped(&mut self, flipped: &Flipped) {
        if let Some(after) = flipped.in_force_after {
            self.in_force.saturating_record(after.as_nanos() as u64);
        }
        self.screen.flipped(flipped);
    }

    fn tick(&mut self) {
        let (recent, within) = (self.monolith.meter.take(), self.taken.elapsed());
        self.taken = Instant::now();
        self.total.add(&recent);
        self.screen.show(&Frame {
            heading: self.heading(&recent, within),
            inspection: self.monolith.router.inspect(),
            recent: &recent,
            within,
            total: &self.total,
            flips: self.in_force.len(),
        });
    }

    fn heading(&self, recent: &Tally, within: Duration) -> String {
        let (seconds, orders) = (self.began.elapsed().as_secs(), per_second(recent.orders, within));
        let (second, customers) = (self.monolith.world.second_pid(), CUSTOMERS + WHOLESALERS);
        format!(
            "{seconds} s, {customers} orders at once, {orders} orders/s; the second process is {second}"
        )
    }

    /// Waits until every order has ended, and sums up.
    async fn finish(mut self) -> Result<Report, Box<dyn Error>> {
        let impatient = tokio::spawn(signals::end_at_the_next_interrupt());
        self.customers.stop().await;
        impatient.abort();
        while let Ok(event) = self.events.try_recv() {
            self.report(&event);
        }
        self.total.add(&self.monolith.meter.take());
        for failure in self.monolith.meter.failures() {
            self.screen.say(&format!("failed: {failure}"));
        }
        let counts = self.monolith.second_process_counts().await?;
        Ok(Report::new(&self.total, &self.in_force, counts, self.monolith.world.outage.lasted()))
    }
}
