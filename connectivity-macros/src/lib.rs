//! The macros of `connectivity-core`, which re-exports and documents them.

use proc_macro::TokenStream;

/// Placeholder until the expansion lands.
#[proc_macro_attribute]
pub fn service(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    item
}
