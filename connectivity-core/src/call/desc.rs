//! What a contract says of itself.

use std::fmt;

#[cfg(feature = "router")]
use super::Reply;
use crate::codec::{Codec, CodecError, Encoded};
use crate::shape::{Contract, MethodShape};

/// The most methods a service may have: one bit each in the mask that a local call reads.
pub(crate) const MAX_METHODS: usize = 256;

/// Describes a service: its name, its docs, its methods.
#[derive(Debug)]
pub struct ServiceDesc {
    name: &'static str,
    docs: &'static str,
    methods: &'static [&'static MethodDesc],
}

impl ServiceDesc {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        name: &'static str,
        docs: &'static str,
        methods: &'static [&'static MethodDesc],
    ) -> Self {
        Self { name, docs, methods }
    }

    /// Names the service.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Shows the doc comment of the trait.
    #[must_use]
    pub const fn docs(&self) -> &'static str {
        self.docs
    }

    /// Lists the methods in the order of the trait.
    #[must_use]
    pub const fn methods(&self) -> &'static [&'static MethodDesc] {
        self.methods
    }

    /// Finds a method by its full name, such as `billing.charge`.
    #[must_use]
    pub fn method(&self, full_name: &str) -> Option<&'static MethodDesc> {
        self.methods.iter().copied().find(|method| method.full_name == full_name)
    }

    /// Says in words how a client's contract, which this is, differs from that of an
    /// implementation.
    #[cfg(feature = "router")]
    pub(crate) fn difference(&self, here: &Self) -> String {
        let lacks = |one: &Self, other: &Self| {
            one.methods
                .iter()
                .find(|method| other.method(method.full_name).is_none())
                .map(|method| method.name)
        };
        if let Some(method) = lacks(here, self) {
            return format!("the client has no method `{method}`");
        }
        if let Some(method) = lacks(self, here) {
            return format!("only the client has a method `{method}`");
        }
        let pairs =
            self.methods.iter().filter_map(|there| Some((there, here.method(there.full_name)?)));
        let differ =
            pairs.into_iter().find(|(there, here)| there.fingerprint() != here.fingerprint());
        match differ {
            Some((there, here)) => {
                format!(
                    "`{}` is `{}` for the client, and `{}` here",
                    here.name,
                    there.contract().text,
                    here.contract().text
                )
            }
            None => {
                "the methods are the same, of two traits: two versions of one crate may be linked"
                    .to_owned()
            }
        }
    }
}

/// Describes a method: its names, its arguments, and what its author said about repeating and
/// cancelling it.
pub struct MethodDesc {
    index: usize,
    service: &'static str,
    name: &'static str,
    full_name: &'static str,
    arguments: &'static [&'static str],
    docs: &'static str,
    idempotent: bool,
    readonly: bool,
    no_cancel: bool,
    types: MethodTypes,
}

/// What a method's types can do, for those who know only its description.
pub(crate) struct MethodTypes {
    #[cfg(feature = "router")]
    pub(crate) noop: fn() -> Option<Reply>,
    pub(crate) shape: fn(Codec) -> MethodShape,
    pub(crate) transcode: fn(&[u8], Codec, Codec) -> Result<Encoded, CodecError>,
    #[cfg(feature = "mcp")]
    pub(crate) is_error: fn(&[u8]) -> bool,
}

impl MethodDesc {
    pub(crate) const fn new(
        index: usize,
        service: &'static str,
        name: &'static str,
        full_name: &'static str,
        arguments: &'static [&'static str],
        types: MethodTypes,
    ) -> Self {
        assert!(index < MAX_METHODS, "a service has at most 256 methods");
        Self {
            index,
            service,
            name,
            full_name,
            arguments,
            docs: "",
            idempotent: false,
            readonly: false,
            no_cancel: false,
            types,
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn docs(self, docs: &'static str) -> Self {
        Self { docs, ..self }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn readonly(self) -> Self {
        Self { readonly: true, idempotent: true, ..self }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn no_cancel(self) -> Self {
        Self { no_cancel: true, ..self }
    }

    /// Says where the method stands in its trait; stable for one program, not between two.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Names the service.
    #[must_use]
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// Names the method within its service: `charge`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Names the method everywhere else: `billing.charge`.
    #[must_use]
    pub const fn full_name(&self) -> &'static str {
        self.full_name
    }

    /// Names the arguments, in order.
    #[must_use]
    pub const fn arguments(&self) -> &'static [&'static str] {
        self.arguments
    }

    /// Shows the doc comment of the method.
    #[must_use]
    pub const fn doc_comment(&self) -> &'static str {
        self.docs
    }

    /// Says whether a call may be repeated (`#[idempotent]` or `#[readonly]`).
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Says whether a call changes nothing (`#[readonly]`).
    #[must_use]
    pub const fn is_readonly(&self) -> bool {
        self.readonly
    }

    /// Says whether a call goes on when its caller has gone (`#[no_cancel]`).
    #[must_use]
    pub const fn is_no_cancel(&self) -> bool {
        self.no_cancel
    }

    /// Shows what arguments, value and error look like in bincode: found by walking their types,
    /// which takes a moment.
    #[must_use]
    pub fn shape(&self) -> MethodShape {
        (self.types.shape)(Codec::Bincode)
    }

    /// The same in JSON.
    #[cfg(feature = "mcp")]
    pub(crate) fn json_shape(&self) -> MethodShape {
        (self.types.shape)(Codec::Json)
    }

    /// Digests the [shape](Self::shape): two programs whose fingerprints of a method are equal
    /// understand each other's bincode. The first use walks the types, later ones look it up.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.contract().fingerprint
    }

    /// What both ends of a wire compare of the method; found out once.
    pub(crate) fn contract(&self) -> &'static Contract {
        Contract::of(self.types.shape)
    }

    /// The codec for a call when its row asks for `wanted`: JSON for a method that bincode cannot
    /// carry.
    pub(crate) fn codec(&self, wanted: Codec) -> Codec {
        match wanted {
            Codec::Bincode if self.contract().unsupported.is_some() => Codec::Json,
            _ => wanted,
        }
    }

    /// Moves encoded arguments from one codec to another, if that can carry them; says which it is.
    pub(crate) fn transcode(
        &self,
        bytes: &[u8],
        from: Codec,
        to: Codec,
    ) -> Result<Encoded, CodecError> {
        (self.types.transcode)(bytes, from, to)
    }

    /// Returns whether JSON is an error of the contract.
    #[cfg(feature = "mcp")]
    pub(crate) fn is_error(&self, json: &[u8]) -> bool {
        (self.types.is_error)(json)
    }

    /// Makes the answer of a `noop` route, if the method has one.
    #[cfg(feature = "router")]
    pub(crate) fn noop(&self) -> Option<Reply> {
        (self.types.noop)()
    }
}

impl fmt::Debug for MethodDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodDesc")
            .field("name", &self.full_name)
            .field("arguments", &self.arguments)
            .finish()
    }
}
