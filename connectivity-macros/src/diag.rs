//! Collects mistakes, so that one build shows all of them.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The mistakes found so far, in the order of their discovery.
#[derive(Default)]
pub(crate) struct Diagnostics {
    errors: Vec<syn::Error>,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.errors.extend(error);
    }

    /// Reports a mistake at one place in the source.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new(span, message));
    }

    /// Reports a mistake that covers all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// One `compile_error!` invocation for each mistake.
    pub(crate) fn into_compile_errors(self) -> impl Iterator<Item = TokenStream> {
        self.errors.into_iter().map(|error| error.to_compile_error())
    }
}
