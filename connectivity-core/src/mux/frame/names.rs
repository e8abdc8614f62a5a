//! Method numbers: a name and a fingerprint travel once per stream, afterwards only a number.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use super::{Declaration, Request, WireError};
use crate::fast_hash::FastHasher;
use crate::name::Name;

/// The most methods that a peer may declare on one stream.
const MAX_METHODS: usize = 4096;

/// The client's table: assigns a number to each name.
#[derive(Debug, Default)]
pub(crate) struct ClientNames {
    numbers: HashMap<Name, u32, BuildHasherDefault<FastHasher>>,
}

impl ClientNames {
    /// Returns the number of a name, and whether this request must declare it. Returns `None` when
    /// the stream has no numbers left.
    pub(crate) fn number(&mut self, name: &Name) -> Option<(u32, bool)> {
        if let Some(number) = self.numbers.get(name) {
            return Some((*number, false));
        }
        let number =
            u32::try_from(self.numbers.len()).ok().filter(|_| self.numbers.len() < MAX_METHODS)?;
        self.numbers.insert(name.clone(), number);
        Some((number, true))
    }
}

/// The server's table: maps each number to what was declared for it.
#[derive(Debug)]
pub(crate) struct ServerNames<T> {
    methods: BTreeMap<u32, T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self { methods: BTreeMap::new() }
    }
}

impl<T> ServerNames<T> {
    /// Returns the method of a request. The first request of a number carries a declaration, from
    /// which `declare` builds the entry, once.
    pub(crate) fn resolve(
        &mut self,
        request: &Request,
        declare: impl FnOnce(&Declaration) -> T,
    ) -> Result<&T, WireError> {
        if let Some(declaration) = &request.declaration {
            if self.methods.len() >= MAX_METHODS && !self.methods.contains_key(&request.method) {
                return Err(WireError::TooManyMethods);
            }
            self.methods.insert(request.method, declare(declaration));
        }
        self.methods.get(&request.method).ok_or(WireError::UnknownMethod)
    }
}
