//! Cached data of method shapes: every remote call needs it, and walking the types takes
//! microseconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{MethodShape, Unsupported};
use crate::codec::Codec;

/// Maximum length of [`Contract::text`] in bytes: one message holds the texts of both ends.
const MAX_TEXT: usize = 400;

/// The part of a method's shape that two programs compare before they exchange bincode, and the
/// text they report when it differs.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) fingerprint: u64,
    #[cfg_attr(
        not(feature = "router"),
        expect(dead_code, reason = "the text is reported only where contracts are compared")
    )]
    pub(crate) text: String,
    pub(crate) unsupported: Option<Unsupported>,
}

/// All contracts by the address of the function that returns the shape. They are never removed:
/// there is one per method. If the linker merges the functions of two methods, their shapes are
/// equal too; a function with two addresses is walked twice. A cell in the method description
/// itself would need a `static`, which a generic implementation cannot have.
static CONTRACTS: Mutex<BTreeMap<usize, &'static Contract>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// The contracts that this thread has looked up. It avoids contention of all calls on one lock.
    static CACHE: RefCell<BTreeMap<usize, &'static Contract>> = const { RefCell::new(BTreeMap::new()) };
}

impl Contract {
    pub(crate) fn of(shape: fn(Codec) -> MethodShape) -> &'static Self {
        let key = shape as usize;
        if let Some(contract) = CACHE.with_borrow(|cache| cache.get(&key).copied()) {
            return contract;
        }
        let contract = Self::cached(key).unwrap_or_else(|| {
            // Hold no lock while types are walked: their `Deserialize` is user code.
            let contract = Self::new(&shape(Codec::Bincode));
            Self::lock().entry(key).or_insert_with(|| Box::leak(Box::new(contract)))
        });
        CACHE.with_borrow_mut(|cache| cache.insert(key, contract));
        contract
    }

    fn cached(key: usize) -> Option<&'static Self> {
        Self::lock().get(&key).copied()
    }

    fn lock() -> MutexGuard<'static, BTreeMap<usize, &'static Self>> {
        CONTRACTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(shape: &MethodShape) -> Self {
        Self {
            fingerprint: shape.fingerprint(),
            text: shape.text_within(MAX_TEXT),
            unsupported: shape.unsupported_by_bincode(),
        }
    }
}
