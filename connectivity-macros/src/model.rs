//! A service that has passed every check. Types and expressions keep the user's tokens, and with
//! them their places.

use proc_macro2::Ident;
use syn::{Attribute, Expr, Generics, Lifetime, Path, Type, Visibility};

use crate::names::Names;

pub(crate) struct Service {
    pub(crate) krate: Path,
    /// The name on the wire.
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) trait_name: Ident,
    pub(crate) names: Names,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    /// The position in the source, whatever `cfg` leaves out.
    pub(crate) index: usize,
    pub(crate) ident: Ident,
    /// The name on the wire, without the service.
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) cfgs: Vec<Attribute>,
    /// The user's attributes that the client's method repeats.
    pub(crate) repeated: Vec<Attribute>,
    /// Lifetimes only.
    pub(crate) generics: Generics,
    pub(crate) self_lifetime: Option<Lifetime>,
    pub(crate) args: Vec<Argument>,
    pub(crate) output: Type,
    pub(crate) promises: Promises,
    pub(crate) noop: Option<Noop>,
}

impl Method {
    pub(crate) fn is_deprecated(&self) -> bool {
        self.repeated.iter().any(|attr| attr.path().is_ident("deprecated"))
    }
}

pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// The key in a JSON request.
    pub(crate) name: String,
    /// As it is written.
    pub(crate) ty: Type,
    /// `T` where `&T` is written.
    pub(crate) borrowed: Option<Type>,
}

/// What the marker attributes say of a method.
#[derive(Default, Clone, Copy)]
pub(crate) struct Promises {
    pub(crate) idempotent: bool,
    pub(crate) readonly: bool,
    pub(crate) no_cancel: bool,
}

/// What a method answers while its route says `noop`.
pub(crate) enum Noop {
    /// `#[noop(default)]`, with the place of `default`.
    Default(proc_macro2::Span),
    /// `#[noop = expr]`
    Value(Expr),
}
