//! Validation of the types in a signature, as far as tokens allow. Other properties (does it
//! implement `Serialize`?) are left to the traits of `connectivity_core::__private` and their
//! messages.

use proc_macro2::Span;
use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type, TypePath, TypeReference};

use crate::diag::Diagnostics;
use crate::model::Borrowed;
use crate::validate::borrow::{self, is_static, ungrouped};
use crate::validate::instead::{self, Position};

/// Validates the type of an argument. Returns how it is borrowed, if it is.
pub(super) fn argument(ty: &Type, diagnostics: &mut Diagnostics) -> Option<Borrowed> {
    let Some((borrowed, references)) = borrow::find(ty) else {
        check_inside(ty, Position::Argument, diagnostics);
        return None;
    };
    references.into_iter().for_each(|reference| check_borrow(reference, diagnostics));
    check_inside(&borrowed.referent, Position::Argument, diagnostics);
    Some(borrowed)
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

/// Validates the return type and returns it.
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
        ty => check_inside(ty, Position::Output, diagnostics),
    }
    Some((**ty).clone())
}

/// Returns whether a type is certainly not a `Result`. A type of the user may be an alias for one,
/// and is left to the compiler.
fn is_plain_value(ty: &Type) -> bool {
    const VALUE_TYPES: [&str; 28] = [
        "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64",
        "i128", "isize", "f32", "f64", "str", "String", "Vec", "Option", "Box", "HashMap",
        "BTreeMap", "HashSet", "BTreeSet", "Duration", "PathBuf", "Bytes",
    ];
    match ty {
        Type::Path(TypePath { qself: None, path, .. }) => path
            .segments
            .last()
            .is_some_and(|last| VALUE_TYPES.iter().any(|name| last.ident == name)),
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => true,
        _ => false,
    }
}

/// Reports what is not allowed inside a type.
fn check_inside(ty: &Type, position: Position, diagnostics: &mut Diagnostics) {
    match ty {
        Type::ImplTrait(ty) => diagnostics.on(ty, instead::of_impl(&ty.bounds)),
        Type::TraitObject(object) => {
            if let Some(message) = instead::of_dyn(&object.bounds, position) {
                diagnostics.on(object, message);
            }
        }
        Type::Reference(reference) => report_borrow(reference, position, diagnostics),
        Type::Path(path) => check_path(path, position, diagnostics),
        Type::Group(group) => check_inside(&group.elem, position, diagnostics),
        Type::Paren(paren) => check_inside(&paren.elem, position, diagnostics),
        Type::Array(array) => check_inside(&array.elem, position, diagnostics),
        Type::Slice(slice) => check_inside(&slice.elem, position, diagnostics),
        Type::Tuple(tuple) => {
            tuple.elems.iter().for_each(|elem| check_inside(elem, position, diagnostics))
        }
        _ => {}
    }
}

fn report_borrow(reference: &TypeReference, position: Position, diagnostics: &mut Diagnostics) {
    let message = match (position, owned_form(&reference.elem)) {
        (Position::Argument, owned) => {
            format!(
                "write {owned} here: an argument can be borrowed as `&T`, `Option<&T>`, `&[&T]` or `Cow<'_, T>`, and not deeper inside"
            )
        }
        (Position::Output, owned) => {
            format!("write {owned} here: a reply cannot borrow from another process")
        }
    };
    diagnostics.on(reference, message);
}

/// Returns what to write instead of `&ty`.
fn owned_form(ty: &Type) -> &'static str {
    match ungrouped(ty) {
        Type::Slice(_) => "`Vec<T>`",
        Type::Path(TypePath { path, .. }) if path.is_ident("str") => "`String`",
        Type::Path(TypePath { path, .. }) if path.is_ident("Path") => "`PathBuf`",
        _ => "an owned type",
    }
}

fn check_path(ty: &TypePath, position: Position, diagnostics: &mut Diagnostics) {
    let qualified = ty.qself.as_ref().map(|qself| &*qself.ty);
    if let Some(inner) = qualified {
        check_inside(inner, position, diagnostics);
    }
    for segment in &ty.path.segments {
        if segment.ident == "Self" {
            report_self(segment.ident.span(), diagnostics);
        }
        if segment.ident == "BoxStream" && !segment.arguments.is_none() {
            diagnostics.on(segment, instead::NO_STREAM);
        }
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
        for argument in &arguments.args {
            match argument {
                GenericArgument::Type(inner) => check_inside(inner, position, diagnostics),
                GenericArgument::AssocType(binding) => {
                    check_inside(&binding.ty, position, diagnostics)
                }
                GenericArgument::Lifetime(lifetime) if !is_static(lifetime) => {
                    diagnostics.on(
                        lifetime,
                        "write `'static` or an owned type: only `&T`, `Option<&T>`, `&[&T]` and `Cow<'_, T>` arguments can be borrowed",
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
