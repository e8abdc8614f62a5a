//! What is kept of a method's shape: walking its types takes microseconds, and every remote call asks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{MethodShape, Unsupported};
use crate::codec::Codec;

/// The longest text in [`Contract::text`]: those of both ends stand in one message.
const MAX_TEXT: usize = 400;

/// What two programs compare of a method before they send each other bincode, and what they say when it differs.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) fingerprint: u64,
    #[cfg_attr(
        not(any(feature = "http", feature = "gateway", feature = "wire")),
        expect(dead_code, reason = "only a wire on which contracts are compared tells them")
    )]
    pub(crate) text: String,
    pub(crate) unsupported: Option<Unsupported>,
}

/// By the address of the function that makes the shape. Where a linker gave two methods one function, their shapes are one too;
/// a function with two addresses is walked twice. A cell in the description itself would need a `static`, which a generic
/// implementation cannot have.
static KNOWN: RwLock<BTreeMap<usize, Arc<Contract>>> = RwLock::new(BTreeMap::new());

impl Contract {
    pub(crate) fn of(shape: fn(Codec) -> MethodShape) -> Arc<Self> {
        let key = shape as usize;
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        // The lock is not held while types are walked: their `Deserialize` is anybody's code.
        known.unwrap_or_else(|| {
            let contract = Arc::new(Self::new(&shape(Codec::Bincode)));
            KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&contract));
            contract
        })
    }

    fn new(shape: &MethodShape) -> Self {
        Self {
            fingerprint: shape.fingerprint(),
            text: shape.text_within(MAX_TEXT),
            unsupported: shape.unsupported_by_bincode(),
        }
    }
}
