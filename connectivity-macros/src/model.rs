//! Model of a service that passed all checks. Types and expressions keep the user's tokens, and
//! with them their spans.

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
    pub(crate) form: Form,
    /// Whether the user has named the object-safe form.
    pub(crate) has_named_object: bool,
    pub(crate) methods: Vec<Method>,
}

/// How the trait becomes a trait object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `async fn` is desugared here, and a second, object-safe trait is generated.
    Plain,
    /// `#[async_trait]` stands below `#[service]`: the trait is object-safe itself.
    AsyncTrait,
}

pub(crate) struct Method {
    /// Position in the source, including methods that `cfg` leaves out.
    pub(crate) index: usize,
    pub(crate) ident: Ident,
    /// The name on the wire, without the service.
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) cfgs: Vec<Attribute>,
    /// Attributes of the user that the client's method repeats.
    pub(crate) client_attrs: Vec<Attribute>,
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
        self.client_attrs.iter().any(|attr| attr.path().is_ident("deprecated"))
    }
}

pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// The key in a JSON request.
    pub(crate) name: String,
    /// The type as written.
    pub(crate) ty: Type,
    /// How it is borrowed, if it is.
    pub(crate) borrowed: Option<Borrowed>,
}

/// An argument that is borrowed from the caller.
pub(crate) struct Borrowed {
    /// The `T`.
    pub(crate) referent: Type,
    pub(crate) form: BorrowForm,
    /// The lifetime of the borrow, if it has a name.
    pub(crate) lifetime: Option<Lifetime>,
}

/// How an argument is written that is borrowed.
pub(crate) enum BorrowForm {
    /// `&T`
    Reference,
    /// `Option<&T>`
    Optional,
    /// `&[&T]`, with the lifetime of the elements, if it has a name.
    Slice(Option<Lifetime>),
    /// `Cow<'_, T>`, with the path as written, without what is in the brackets.
    Cow(Path),
}

/// Promises of a method, from its marker attributes.
#[derive(Default, Clone, Copy)]
pub(crate) struct Promises {
    pub(crate) idempotent: bool,
    pub(crate) readonly: bool,
    pub(crate) no_cancel: bool,
}

/// Value that a method returns while its route is `noop`.
pub(crate) enum Noop {
    /// `#[noop(default)]`, with the span of `default`.
    Default(proc_macro2::Span),
    /// `#[noop = expr]`
    Value(Expr),
}
