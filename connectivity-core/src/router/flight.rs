//! What runs of one row: its calls in flight, whatever edits the row has seen since they began.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::layer::Gate;
use crate::name::Name;
use crate::router::path::Traffic;

/// The calls in flight of one row. It lives as long as a route of the row does, or a call.
#[derive(Default)]
pub(crate) struct Flight {
    gate: Gate,
    idle: Notify,
    /// Whether anybody waits for `idle`; most calls end while nobody does.
    awaited: AtomicBool,
    /// Whether a call came that was none of a method.
    called_raw: AtomicBool,
    /// The routes that the row has had and that may have calls.
    routes: Mutex<Vec<Weak<Traffic>>>,
}

impl Flight {
    /// Counts one more call, unless there are `limit` already. A call that is refused was never
    /// counted.
    pub(crate) fn enter(&self, limit: Option<usize>) -> bool {
        self.gate.enter(limit)
    }

    /// Notes that the row is that of a raw service: nothing else may tell, where that is only
    /// called.
    pub(crate) fn note_raw_call(&self) {
        // A load first: a store by every call would be one more thing that all threads fight for.
        if !self.was_called_raw() {
            self.called_raw.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn was_called_raw(&self) -> bool {
        self.called_raw.load(Ordering::Relaxed)
    }

    pub(crate) fn leave(&self) {
        if self.gate.leave() == 0 && self.awaited.load(Ordering::SeqCst) {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.gate.busy()
    }

    /// Waits until no call is in flight.
    async fn idle(&self) {
        // Either this sees the last call gone, or that call sees this: both write before they read,
        // in one order for all.
        self.awaited.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.gate.busy() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn add_route(&self, route: &Arc<Traffic>) {
        let mut routes = self.routes();
        routes.retain(|route| route.strong_count() > 0);
        routes.push(Arc::downgrade(route));
    }

    /// Ends the calls in flight for good; returns how many there were.
    fn cut(&self) -> usize {
        self.routes().iter().filter_map(Weak::upgrade).for_each(|route| route.cut());
        self.in_flight()
    }

    fn routes(&self) -> MutexGuard<'_, Vec<Weak<Traffic>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights of all rows that are there, or were when a call began that still runs.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Name, Weak<Flight>>>);

impl Flights {
    /// The flight of a row: an edit, or a deletion and a new row, forgets nothing that runs.
    pub(crate) fn of(&self, row: &Name) -> Arc<Flight> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(row).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() == flights.capacity() {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::<Flight>::default();
        flights.insert(row.clone(), Arc::downgrade(&flight));
        flight
    }

    /// All flights, to be waited for.
    pub(crate) fn all(&self) -> AllFlights {
        AllFlights(self.lock().values().filter_map(Weak::upgrade).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Weak<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights of a router at one moment.
pub(crate) struct AllFlights(Vec<Arc<Flight>>);

impl AllFlights {
    pub(crate) async fn idle(&self) {
        for flight in &self.0 {
            flight.idle().await;
        }
    }

    /// Ends the calls in flight for good; returns how many there were.
    pub(crate) fn cut(&self) -> usize {
        self.0.iter().map(|flight| flight.cut()).sum()
    }
}
