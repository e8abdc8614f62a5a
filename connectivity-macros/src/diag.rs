//! Collects errors, so that one build reports all of them.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Errors found so far, in the order of their discovery.
#[derive(Default)]
pub(crate) struct Diagnostics {
    errors: Vec<syn::Error>,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.errors.extend(error);
    }

    /// Reports an error at one span.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new(span, message));
    }

    /// Reports an error that spans all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Returns one `compile_error!` invocation per error.
    pub(crate) fn into_compile_errors(self) -> impl Iterator<Item = TokenStream> {
        self.errors.into_iter().map(|error| error.to_compile_error())
    }
}
