//! Calls in flight per row, counted across all edits of the row.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::layer::Gate;
use crate::name::Name;
use crate::router::drain::RouteDrain;

/// The calls in flight of one row. Lives as long as any route or call of the row.
#[derive(Default)]
pub(crate) struct Flight {
    gate: Gate,
    idle: Notify,
    /// Whether a task waits for `idle`. Calls skip the notification otherwise.
    awaited: AtomicBool,
    /// Whether the row has had a call that names no method.
    called_raw: AtomicBool,
    /// The drains of all routes of the row, past and present, that may still have calls.
    routes: Mutex<Vec<Weak<RouteDrain>>>,
}

impl Flight {
    /// Counts one more call and returns true, unless `limit` calls are in flight. A refused call is
    /// never counted.
    pub(crate) fn enter(&self, limit: Option<usize>) -> bool {
        self.gate.enter(limit)
    }

    /// Records that the row belongs to a raw service. In a process that only calls the service,
    /// nothing else shows that.
    pub(crate) fn note_raw_call(&self) {
        // Load first: a store by every call would make all threads contend for the cache line.
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
        // Either this task sees that the last call has left, or that call sees this flag: both
        // write before they read, and the operations are sequentially consistent.
        self.awaited.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.gate.busy() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn add_route(&self, route: &Arc<RouteDrain>) {
        let mut routes = self.routes();
        routes.retain(|route| route.strong_count() > 0);
        routes.push(Arc::downgrade(route));
    }

    /// Ends the calls in flight without a drain. Returns how many there were.
    fn cut(&self) -> usize {
        self.routes().iter().filter_map(Weak::upgrade).for_each(|route| route.cut());
        self.in_flight()
    }

    fn routes(&self) -> MutexGuard<'_, Vec<Weak<RouteDrain>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights of all rows, including deleted ones that still have calls in flight.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Name, Weak<Flight>>>);

impl Flights {
    /// Returns the flight of a row. An edit, or a deletion followed by a new row, keeps counting
    /// the calls in flight.
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

    /// Returns all flights at this moment.
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

    /// Ends the calls in flight without a drain. Returns how many there were.
    pub(crate) fn cut(&self) -> usize {
        self.0.iter().map(|flight| flight.cut()).sum()
    }
}
