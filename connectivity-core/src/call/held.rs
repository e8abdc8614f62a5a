//! What counts a call as in flight, for as long as its work runs.

#[cfg(feature = "router")]
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "router")]
use super::Call;

/// Permits that are given back when the work of a call has ended. Most calls have none of their own: whoever waits for them does.
#[derive(Clone, Default)]
pub(crate) struct Permits(
    #[cfg_attr(not(feature = "router"), allow(dead_code, reason = "only a router admits calls"))]
    Vec<Arc<dyn Send + Sync>>,
);

impl Permits {
    #[cfg(feature = "router")]
    pub(super) fn push(&mut self, permit: Arc<dyn Send + Sync>) {
        self.0.push(permit);
    }
}

/// A permit of a call: given back when its future has ended, or with the work of a `#[no_cancel]` method, which outlives that.
#[cfg(feature = "router")]
#[derive(Debug)]
pub(crate) enum Held<P> {
    Own(P),
    Shared(Arc<P>),
}

#[cfg(feature = "router")]
impl<P: Send + Sync + 'static> Held<P> {
    /// Shares a permit with a call where the work outlives whoever waits for it.
    pub(crate) fn by(permit: P, call: &mut Call) -> Self {
        if !call.is_no_cancel() {
            return Self::Own(permit);
        }
        let permit = Arc::new(permit);
        call.hold(Arc::clone(&permit) as _);
        Self::Shared(permit)
    }
}

#[cfg(feature = "router")]
impl<P> Deref for Held<P> {
    type Target = P;

    fn deref(&self) -> &P {
        match self {
            Self::Own(permit) => permit,
            Self::Shared(permit) => permit,
        }
    }
}
