//! The cell of a service: shared by its clients, with the fast-path bits that route changes flip.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::call::{MAX_METHODS, MethodDesc, ServiceDesc};
use crate::service::Dispatch;

const WORDS: usize = MAX_METHODS / 64;

/// The state that all clients of one service in one router share.
///
/// One bit per method says whether a call may take the fast path straight to the local
/// implementation. Only the route changes at run time, not the implementation, so the
/// implementation is stored in a write-once slot and borrowed. A local call costs one atomic load:
/// no lock, no reference count, no map, no codec.
pub struct ServiceCell {
    desc: &'static ServiceDesc,
    fast: [AtomicU64; WORDS],
    /// The [`ImplSlot`] of the implementation, an `Arc<dyn DynBilling>`. Its type is checked when a
    /// client is created, not in each call.
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
    dispatch: OnceLock<Arc<dyn Dispatch>>,
}

/// The write-once slot of an implementation.
pub(crate) type ImplSlot<D> = OnceLock<Arc<D>>;

impl ServiceCell {
    /// Creates the cell of a service, without an implementation.
    #[must_use]
    pub fn new(desc: &'static ServiceDesc) -> Self {
        Self { desc, fast: Default::default(), typed: OnceLock::new(), dispatch: OnceLock::new() }
    }

    /// Sets the implementation. Returns false if there is one already, or if the cell belongs to
    /// another contract of the same name.
    pub fn set_local<D>(&self, typed: Arc<D>, dispatch: Arc<dyn Dispatch>) -> bool
    where
        D: ?Sized + Send + Sync + 'static,
    {
        self.slot::<D>().is_some_and(|slot| slot.set(typed).is_ok())
            && self.dispatch.set(dispatch).is_ok()
    }

    /// Returns the implementation for calls off the fast path.
    pub fn local(&self) -> Option<&Arc<dyn Dispatch>> {
        self.dispatch.get()
    }

    /// Returns the description of the service.
    pub fn desc(&self) -> &'static ServiceDesc {
        self.desc
    }

    /// Enables the fast path for exactly these methods. The host serializes its writes.
    pub fn set_fast(&self, methods: impl Iterator<Item = &'static MethodDesc>) {
        for (word, bits) in self.fast.iter().zip(mask(methods)) {
            word.store(bits, Ordering::Release);
        }
    }

    /// Disables the fast path for all methods but these.
    pub fn retain_fast(&self, methods: impl Iterator<Item = &'static MethodDesc>) {
        for (word, bits) in self.fast.iter().zip(mask(methods)) {
            word.fetch_and(bits, Ordering::AcqRel);
        }
    }

    /// Returns the slot of the implementation, or `None` if the cell belongs to another contract of
    /// the same name.
    pub(crate) fn slot<D: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<ImplSlot<D>>> {
        let slot = self.typed.get_or_init(|| Arc::new(ImplSlot::<D>::new()));
        Arc::clone(slot).downcast().ok()
    }

    /// Returns whether calls of this method may take the fast path.
    #[inline]
    pub(crate) fn is_fast(&self, method: usize) -> bool {
        self.fast[(method / 64) % WORDS].load(Ordering::Acquire) & (1 << (method % 64)) != 0
    }
}

fn mask(methods: impl Iterator<Item = &'static MethodDesc>) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for method in methods {
        words[(method.index() / 64) % WORDS] |= 1 << (method.index() % 64);
    }
    words
}

impl fmt::Debug for ServiceCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCell").field("service", &self.desc.name()).finish_non_exhaustive()
    }
}
