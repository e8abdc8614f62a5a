//! Spans at which the compiler reports that a type lacks an impl: at the type or, if it occurs
//! several times, at its first occurrence, so that the error is reported once.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{GenericArgument, PathArguments, Type};

use crate::model::Service;

/// Spans of the first and the last token of a type.
#[derive(Clone, Copy)]
pub(super) struct TypeSpan {
    pub(super) first: Span,
    pub(super) last: Span,
}

impl TypeSpan {
    fn of(tokens: TokenStream) -> Option<Self> {
        let mut spans = tokens.into_iter().map(|token| token.span());
        let first = spans.next()?;
        Some(Self { first, last: spans.last().unwrap_or(first) })
    }
}

/// Spans of the first type of each spelling.
pub(super) struct TypeSpans(HashMap<String, TypeSpan>);

impl TypeSpans {
    pub(super) fn of(service: &Service) -> Self {
        let mut spans = HashMap::new();
        for ty in service.methods.iter().flat_map(|method| {
            let (ok, err) = parts_of_result(&method.output);
            [ok, err]
        }) {
            let tokens = ty.to_token_stream();
            if let Some(span) = TypeSpan::of(tokens.clone()) {
                spans.entry(tokens.to_string()).or_insert(span);
            }
        }
        Self(spans)
    }

    /// Returns the spans for errors in the `T` and in the `E` of a method's result.
    pub(super) fn of_result(&self, output: &Type) -> (TypeSpan, TypeSpan) {
        let (ok, err) = parts_of_result(output);
        (self.of_type(ok), self.of_type(err))
    }

    fn of_type(&self, ty: &Type) -> TypeSpan {
        let fallback = TypeSpan { first: Span::mixed_site(), last: Span::mixed_site() };
        self.0.get(&ty.to_token_stream().to_string()).copied().unwrap_or(fallback)
    }
}

/// Returns the `T` and the `E` as far as they are written. With an alias, the alias stands for a
/// type that is not written.
fn parts_of_result(output: &Type) -> (&Type, &Type) {
    let Type::Path(path) = output else { return (output, output) };
    let Some(PathArguments::AngleBracketed(arguments)) =
        path.path.segments.last().map(|last| &last.arguments)
    else {
        return (output, output);
    };
    let mut types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    (types.next().unwrap_or(output), types.next().unwrap_or(output))
}
