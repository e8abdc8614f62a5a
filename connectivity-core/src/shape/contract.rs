//! What is kept of a method's shape: walking its types takes microseconds, and every remote call
//! asks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{MethodShape, Unsupported};
use crate::codec::Codec;

/// The longest text in [`Contract::text`]: those of both ends stand in one message.
const MAX_TEXT: usize = 400;

/// What two programs compare of a method before they send each other bincode, and what they say
/// when it differs.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) fingerprint: u64,
    #[cfg_attr(
        not(feature = "router"),
        expect(dead_code, reason = "only where contracts are compared they are told")
    )]
    pub(crate) text: String,
    pub(crate) unsupported: Option<Unsupported>,
}

/// By the address of the function that makes the shape; there are as many as there are methods, so
/// they stay. Where a linker gave two methods one function, their shapes are one too; a function
/// with two addresses is walked twice. A cell in the description itself would need a `static`,
/// which a generic implementation cannot have.
static KNOWN: Mutex<BTreeMap<usize, &'static Contract>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// What this thread has looked up: calls of all threads at once would otherwise meet at one
    /// lock.
    static SEEN: RefCell<BTreeMap<usize, &'static Contract>> = const { RefCell::new(BTreeMap::new()) };
}

impl Contract {
    pub(crate) fn of(shape: fn(Codec) -> MethodShape) -> &'static Self {
        let key = shape as usize;
        if let Some(contract) = SEEN.with_borrow(|seen| seen.get(&key).copied()) {
            return contract;
        }
        let contract = Self::known(key).unwrap_or_else(|| {
            // No lock is held while types are walked: their `Deserialize` is anybody's code.
            let contract = Self::new(&shape(Codec::Bincode));
            Self::lock().entry(key).or_insert_with(|| Box::leak(Box::new(contract)))
        });
        SEEN.with_borrow_mut(|seen| seen.insert(key, contract));
        contract
    }

    fn known(key: usize) -> Option<&'static Self> {
        Self::lock().get(&key).copied()
    }

    fn lock() -> MutexGuard<'static, BTreeMap<usize, &'static Self>> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(shape: &MethodShape) -> Self {
        Self {
            fingerprint: shape.fingerprint(),
            text: shape.text_within(MAX_TEXT),
            unsupported: shape.unsupported_by_bincode(),
        }
    }
}
