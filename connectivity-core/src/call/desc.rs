//! The descriptions of services and methods, as their contract states them.

use std::fmt;

#[cfg(feature = "router")]
use super::Reply;
use crate::codec::{Codec, CodecError, Encoded};
use crate::shape::{Contract, MethodShape};

/// The maximum number of methods of a service. Each has one bit in the mask that a local call
/// reads.
pub(crate) const MAX_METHODS: usize = 256;

/// The description of a service: its name, its docs, its methods.
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

    /// Returns the name of the service.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the doc comment of the trait.
    #[must_use]
    pub const fn docs(&self) -> &'static str {
        self.docs
    }

    /// Returns the methods in the order of the trait.
    #[must_use]
    pub const fn methods(&self) -> &'static [&'static MethodDesc] {
        self.methods
    }

    /// Finds a method by its full name, such as `billing.charge`.
    #[must_use]
    pub fn method(&self, full_name: &str) -> Option<&'static MethodDesc> {
        self.methods.iter().copied().find(|method| method.full_name == full_name)
    }

    /// Describes how this contract, that of a client, differs from the contract of an
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
            self.methods.iter().filter_map(|client| Some((client, here.method(client.full_name)?)));
        let different =
            pairs.into_iter().find(|(client, here)| client.fingerprint() != here.fingerprint());
        match different {
            Some((client, here)) => {
                format!(
                    "`{}` is `{}` for the client, and `{}` here",
                    here.name,
                    client.contract().text,
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

/// The description of a method: its names, its arguments, and whether it may be repeated or
/// cancelled.
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

/// The functions that depend on the types of a method, for code that knows only its description.
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

    /// Returns the index of the method in its trait. Stable within one program, not between
    /// programs.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the name of the service.
    #[must_use]
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// Returns the name of the method within its service, such as `charge`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the full name of the method, such as `billing.charge`.
    #[must_use]
    pub const fn full_name(&self) -> &'static str {
        self.full_name
    }

    /// Returns the names of the arguments, in order.
    #[must_use]
    pub const fn arguments(&self) -> &'static [&'static str] {
        self.arguments
    }

    /// Returns the doc comment of the method.
    #[must_use]
    pub const fn doc_comment(&self) -> &'static str {
        self.docs
    }

    /// Returns whether a call may be repeated (`#[idempotent]` or `#[readonly]`).
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Returns whether a call changes nothing (`#[readonly]`).
    #[must_use]
    pub const fn is_readonly(&self) -> bool {
        self.readonly
    }

    /// Returns whether a call continues after its caller has dropped it (`#[no_cancel]`).
    #[must_use]
    pub const fn is_no_cancel(&self) -> bool {
        self.no_cancel
    }

    /// Returns the bincode shape of the arguments, the value and the error. Walks their types on
    /// every call, which is slow.
    #[must_use]
    pub fn shape(&self) -> MethodShape {
        (self.types.shape)(Codec::Bincode)
    }

    /// Returns the JSON shape of the arguments, the value and the error.
    #[cfg(feature = "mcp")]
    pub(crate) fn json_shape(&self) -> MethodShape {
        (self.types.shape)(Codec::Json)
    }

    /// Returns a digest of the [shape](Self::shape). Two programs with equal fingerprints of a
    /// method understand each other's bincode. The first call walks the types, later calls use the
    /// cached result.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.contract().fingerprint
    }

    /// Returns the contract that client and server compare. Computed once.
    pub(crate) fn contract(&self) -> &'static Contract {
        Contract::of(self.types.shape)
    }

    /// Returns the codec of a call whose row asks for `requested`: JSON if bincode cannot encode
    /// the method's types.
    pub(crate) fn codec(&self, requested: Codec) -> Codec {
        match requested {
            Codec::Bincode if self.contract().unsupported.is_some() => Codec::Json,
            _ => requested,
        }
    }

    /// Re-encodes arguments from one codec to another, or to JSON if the other codec cannot encode
    /// them. Returns the bytes with the codec that was used.
    pub(crate) fn transcode(
        &self,
        bytes: &[u8],
        from: Codec,
        to: Codec,
    ) -> Result<Encoded, CodecError> {
        (self.types.transcode)(bytes, from, to)
    }

    /// Returns whether a JSON text is an error of the contract.
    #[cfg(feature = "mcp")]
    pub(crate) fn is_error(&self, json: &[u8]) -> bool {
        (self.types.is_error)(json)
    }

    /// Returns the reply of a `noop` route, if the method has one.
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
