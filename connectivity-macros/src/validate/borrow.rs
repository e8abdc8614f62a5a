//! Finds how the type of an argument is borrowed: `&T`, `Option<&T>`, `&[&T]`, `Cow<'_, T>`.

use syn::{
    GenericArgument, Lifetime, Path, PathArguments, PathSegment, Type, TypePath, TypeReference,
};

use crate::model::{BorrowForm, Borrowed};

/// Returns how an argument is borrowed, and the references in its type.
pub(super) fn find(ty: &Type) -> Option<(Borrowed, Vec<&TypeReference>)> {
    if let Some(outer) = reference(ty) {
        return Some(match element_reference(outer) {
            Some(element) => {
                let form = BorrowForm::Slice(named(element.lifetime.as_ref()));
                (borrowed(&element.elem, form, outer.lifetime.as_ref()), vec![outer, element])
            }
            None => {
                (borrowed(&outer.elem, BorrowForm::Reference, outer.lifetime.as_ref()), vec![outer])
            }
        });
    }
    let (last, arguments) = last_segment(ty)?;
    match arguments[..] {
        [GenericArgument::Type(inner)] if last.ident == "Option" => {
            let inner = reference(inner)?;
            let form = BorrowForm::Optional;
            Some((borrowed(&inner.elem, form, inner.lifetime.as_ref()), vec![inner]))
        }
        // A `Cow<'static, T>` is a value.
        [GenericArgument::Lifetime(lifetime), GenericArgument::Type(referent)]
            if last.ident == "Cow" && !is_static(lifetime) =>
        {
            let form = BorrowForm::Cow(without_arguments(ty)?);
            Some((borrowed(referent, form, Some(lifetime)), Vec::new()))
        }
        _ => None,
    }
}

fn borrowed(referent: &Type, form: BorrowForm, lifetime: Option<&Lifetime>) -> Borrowed {
    Borrowed { referent: referent.clone(), form, lifetime: named(lifetime) }
}

/// Returns a lifetime that has a name.
pub(super) fn named(lifetime: Option<&Lifetime>) -> Option<Lifetime> {
    lifetime.filter(|lifetime| lifetime.ident != "_").cloned()
}

/// Returns the last segment of a type that is a path, and its generic arguments.
fn last_segment(ty: &Type) -> Option<(&PathSegment, Vec<&GenericArgument>)> {
    let Type::Path(TypePath { qself: None, path, .. }) = ungrouped(ty) else { return None };
    let last = path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    Some((last, arguments.args.iter().collect()))
}

/// Returns the `&T` of a `&[&T]`.
fn element_reference(slice: &TypeReference) -> Option<&TypeReference> {
    match ungrouped(&slice.elem) {
        Type::Slice(slice) => reference(&slice.elem),
        _ => None,
    }
}

fn reference(ty: &Type) -> Option<&TypeReference> {
    match ungrouped(ty) {
        Type::Reference(reference) => Some(reference),
        _ => None,
    }
}

/// Returns the path of a type without what is in the brackets at its end.
fn without_arguments(ty: &Type) -> Option<Path> {
    let Type::Path(TypePath { path, .. }) = ungrouped(ty) else { return None };
    let mut path = path.clone();
    path.segments.last_mut()?.arguments = PathArguments::None;
    Some(path)
}

pub(super) fn is_static(lifetime: &Lifetime) -> bool {
    lifetime.ident == "static"
}

/// Returns the type without parentheses and the invisible groups that `macro_rules!` leaves.
pub(super) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        _ => ty,
    }
}
