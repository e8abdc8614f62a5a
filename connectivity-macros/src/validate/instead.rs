//! What to write instead of `impl Trait` and `dyn Trait`.

use syn::punctuated::Punctuated;
use syn::{Token, TypeParamBound};

/// Where a type stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Position {
    Argument,
    Output,
}

type Bounds = Punctuated<TypeParamBound, Token![+]>;

fn has_bound(bounds: &Bounds, name: &str) -> bool {
    bounds.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => {
            bound.path.segments.last().is_some_and(|last| last.ident == name)
        }
        _ => false,
    })
}

pub(super) const NO_STREAM: &str = "a service has no streams yet: return a `Vec`, or one page and the key at which the next one begins";

/// Returns what to write instead of `impl Trait`.
pub(super) fn of_impl(bounds: &Bounds) -> &'static str {
    let cases = [
        (
            "Into",
            "write the type itself, such as `String`: the caller converts with `.into()`, because what is sent to another process needs one known form",
        ),
        (
            "AsRef",
            "write a reference, such as `&str`: the caller converts with `.as_ref()`, because what is sent to another process needs one known form",
        ),
        ("Stream", NO_STREAM),
    ];
    let case = cases.into_iter().find(|(name, _)| has_bound(bounds, name));
    case.map_or(
        "write a concrete type: what is sent to another process needs one known form",
        |(_, message)| message,
    )
}

/// Returns what to write instead of a trait object. Those of other traits are left to the compiler:
/// some of them can be serialized.
pub(super) fn of_dyn(bounds: &Bounds, position: Position) -> Option<&'static str> {
    let is_sendable = has_bound(bounds, "Send") && has_bound(bounds, "Sync");
    match position {
        _ if has_bound(bounds, "Stream") => Some(NO_STREAM),
        Position::Output if has_bound(bounds, "Error") && !is_sendable => Some(
            "write an enum, whose variants callers can tell apart, or `dyn Error + Send + Sync`: a call moves between threads",
        ),
        _ => None,
    }
}
