//! The cell of a service: what a client holds, and what a route change flips.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::call::{MAX_METHODS, MethodDesc, ServiceDesc};
use crate::service::Dispatch;

const WORDS: usize = MAX_METHODS / 64;

/// What all clients of one service in one router share.
///
/// A bit for each method says whether a call may go straight to the local implementation. What
/// changes at run time is the route, not the implementation, so the latter stands in a write-once
/// place and is borrowed: a local call is one atomic load, no lock, no reference count, no map, no
/// codec.
pub struct ServiceCell {
    desc: &'static ServiceDesc,
    fast: [AtomicU64; WORDS],
    /// The place of the implementation as an `Arc<dyn DynBilling>`: a [`ImplSlot`] of that type. Its
    /// type is compared when a client is made, not in each call.
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
    dispatch: OnceLock<Arc<dyn Dispatch>>,
}

/// The write-once place of an implementation.
pub(crate) type ImplSlot<D> = OnceLock<Arc<D>>;

impl ServiceCell {
    /// Makes the cell of a service without an implementation.
    #[must_use]
    pub fn new(desc: &'static ServiceDesc) -> Self {
        Self { desc, fast: Default::default(), typed: OnceLock::new(), dispatch: OnceLock::new() }
    }

    /// Puts the implementation in; false if there is one already.
    pub fn set_local<D>(&self, typed: Arc<D>, dispatch: Arc<dyn Dispatch>) -> bool
    where
        D: ?Sized + Send + Sync + 'static,
    {
        self.slot::<D>().is_some_and(|slot| slot.set(typed).is_ok())
            && self.dispatch.set(dispatch).is_ok()
    }

    /// Shows the implementation to the envelope path.
    pub fn local(&self) -> Option<&Arc<dyn Dispatch>> {
        self.dispatch.get()
    }

    /// Describes the service.
    pub fn desc(&self) -> &'static ServiceDesc {
        self.desc
    }

    /// Lets calls of these methods, and of no others, go straight to the implementation. The host
    /// serializes its writes.
    pub fn set_fast(&self, methods: impl Iterator<Item = &'static MethodDesc>) {
        for (word, bits) in self.fast.iter().zip(mask(methods)) {
            word.store(bits, Ordering::Release);
        }
    }

    /// Takes the direct way from all methods but these.
    pub fn retain_fast(&self, methods: impl Iterator<Item = &'static MethodDesc>) {
        for (word, bits) in self.fast.iter().zip(mask(methods)) {
            word.fetch_and(bits, Ordering::AcqRel);
        }
    }

    /// Finds the place of the implementation; none, if the cell is that of another contract of the
    /// same name.
    pub(crate) fn slot<D: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<ImplSlot<D>>> {
        let slot = self.typed.get_or_init(|| Arc::new(ImplSlot::<D>::new()));
        Arc::clone(slot).downcast().ok()
    }

    /// Says whether calls of this method may go straight to the implementation.
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
