//! Generates the code. Items that users do not name are in one `const _` block, so that they cannot
//! collide with the user's items. The code builds descriptions and passes them to
//! `connectivity_core::__private`.

mod client;
mod dynamic;
mod method;
mod rejected;
mod server;
mod signature;
mod tag;
mod trait_def;
mod type_span;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use self::rejected::{rejected, unreadable, untouched};
use crate::model::Service;
use crate::parse::ServiceTrait;

/// `quote!` whose local variables cannot collide with those of the user: an argument may be called
/// `call` or `service`.
macro_rules! hygienic {
    ($($tokens:tt)*) => {
        quote::quote_spanned!(proc_macro2::Span::mixed_site()=> $($tokens)*)
    };
}
use hygienic;

/// Returns the expansion of a service that passed all checks.
pub(crate) fn service(source: &ServiceTrait, service: &Service) -> TokenStream {
    let trait_def = trait_def::expand(source);
    let dynamic = dynamic::definition(service);
    let client = client::definition(service);
    let server = server::definition(service);
    let constructors = server::constructors(service);
    let cfgs = &service.cfgs;
    let impls = [
        method::expand(service),
        dynamic::impls(service),
        client::impls(service),
        server::impls(service),
    ];
    quote! {
        #trait_def
        #dynamic
        #client
        #server
        #constructors
        #(#cfgs)*
        #[allow(clippy::all, clippy::same_name_method)]
        const _: () = {
            #(#impls)*
        };
    }
}
