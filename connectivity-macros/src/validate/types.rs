//! Which types can be written in a signature, as far as tokens tell. What they cannot tell (does it
//! implement `Serialize`?) is left to the traits of `connectivity_core::__private` and their
//! messages.

use proc_macro2::Span;
use syn::{
    GenericArgument, Lifetime, PathArguments, ReturnType, Signature, Type, TypePath, TypeReference,
};

use crate::diag::Diagnostics;

/// Checks the type of an argument and gives the `T` of a `&T`.
pub(super) fn argument(ty: &Type, diagnostics: &mut Diagnostics) -> Option<Type> {
    let Type::Reference(reference) = ungrouped(ty) else {
        inside(ty, Position::Argument, diagnostics);
        return None;
    };
    check_borrow(reference, diagnostics);
    inside(&reference.elem, Position::Argument, diagnostics);
    Some((*reference.elem).clone())
}

fn check_borrow(reference: &TypeReference, diagnostics: &mut Diagnostics) {
    if let Some(token) = &reference.mutability {
        let message = "write `&T` or `T`: what is changed in another process does not come back through an argument";
        diagnostics.on(token, message);
    }
    if let Some(lifetime) = reference.lifetime.as_ref().filter(|lifetime| is_static(lifetime)) {
        let message =
            "remove `'static`: an argument that came from another process does not live that long";
        diagnostics.on(lifetime, message);
    }
    if let Type::TraitObject(object) = ungrouped(&reference.elem) {
        diagnostics
            .on(object, "write a concrete type: a trait object cannot be sent to another process");
    }
}

/// Checks the return type and gives it.
pub(super) fn output(sig: &Signature, diagnostics: &mut Diagnostics) -> Option<Type> {
    let ReturnType::Type(_, ty) = &sig.output else {
        diagnostics
            .at(sig.ident.span(), "write `-> Result<(), YourError>`: any call can fail on its way");
        return None;
    };
    match ungrouped(ty) {
        plain if is_plain_value(plain) => {
            diagnostics.on(
                plain,
                "write `Result<.., YourError>` around this type: any call can fail on its way",
            );
        }
        ty => inside(ty, Position::Output, diagnostics),
    }
    Some((**ty).clone())
}

/// Whether a type is for certain no `Result`. An alias could be one, so a type of the user's is
/// left to the compiler.
fn is_plain_value(ty: &Type) -> bool {
    const KNOWN: [&str; 28] = [
        "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64",
        "i128", "isize", "f32", "f64", "str", "String", "Vec", "Option", "Box", "HashMap",
        "BTreeMap", "HashSet", "BTreeSet", "Duration", "PathBuf", "Bytes",
    ];
    match ty {
        Type::Path(TypePath { qself: None, path, .. }) => {
            path.segments.last().is_some_and(|last| KNOWN.iter().any(|known| last.ident == known))
        }
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => true,
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    Argument,
    Output,
}

/// Reports what cannot stand inside a type.
fn inside(ty: &Type, place: Position, diagnostics: &mut Diagnostics) {
    match ty {
        Type::ImplTrait(ty) => {
            let message =
                "write a concrete type: what is sent to another process needs one known form";
            diagnostics.on(ty, message);
        }
        Type::Reference(reference) => report_borrow(reference, place, diagnostics),
        Type::Path(path) => inside_path(path, place, diagnostics),
        Type::Group(group) => inside(&group.elem, place, diagnostics),
        Type::Paren(paren) => inside(&paren.elem, place, diagnostics),
        Type::Array(array) => inside(&array.elem, place, diagnostics),
        Type::Slice(slice) => inside(&slice.elem, place, diagnostics),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|elem| inside(elem, place, diagnostics)),
        _ => {}
    }
}

fn report_borrow(reference: &TypeReference, place: Position, diagnostics: &mut Diagnostics) {
    let message = match (place, owned_form(&reference.elem)) {
        (Position::Argument, owned) => {
            format!("write {owned} here: only an argument as a whole can be borrowed")
        }
        (Position::Output, owned) => {
            format!("write {owned} here: a reply cannot borrow from another process")
        }
    };
    diagnostics.on(reference, message);
}

/// What to write where `&ty` cannot stand.
fn owned_form(ty: &Type) -> &'static str {
    match ungrouped(ty) {
        Type::Slice(_) => "`Vec<T>`",
        Type::Path(TypePath { path, .. }) if path.is_ident("str") => "`String`",
        Type::Path(TypePath { path, .. }) if path.is_ident("Path") => "`PathBuf`",
        _ => "an owned type",
    }
}

fn inside_path(ty: &TypePath, place: Position, diagnostics: &mut Diagnostics) {
    let qualified = ty.qself.as_ref().map(|qself| &*qself.ty);
    if let Some(inner) = qualified {
        inside(inner, place, diagnostics);
    }
    for segment in &ty.path.segments {
        if segment.ident == "Self" {
            report_self(segment.ident.span(), diagnostics);
        }
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
        for argument in &arguments.args {
            match argument {
                GenericArgument::Type(inner) => inside(inner, place, diagnostics),
                GenericArgument::AssocType(binding) => inside(&binding.ty, place, diagnostics),
                GenericArgument::Lifetime(lifetime) if !is_static(lifetime) => {
                    diagnostics.on(
                        lifetime,
                        "write `'static` or an owned type: only `&T` arguments can be borrowed",
                    );
                }
                _ => {}
            }
        }
    }
}

fn report_self(span: Span, diagnostics: &mut Diagnostics) {
    diagnostics.at(
        span,
        "write a concrete type: `Self` is another type for each implementation, and for the client",
    );
}

fn is_static(lifetime: &Lifetime) -> bool {
    lifetime.ident == "static"
}

/// The type without parentheses and the invisible groups that `macro_rules!` leaves.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        _ => ty,
    }
}
