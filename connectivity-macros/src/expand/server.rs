//! Generates the service, such as `BillingService`: an implementation as the runtime sees it.

use proc_macro2::TokenStream;

use crate::expand::{dynamic, hygienic, method};
use crate::model::{BorrowForm, Method, Service};
use crate::names;

pub(super) fn definition(service: &Service) -> TokenStream {
    let Service { krate, vis, trait_name, cfgs, .. } = service;
    let (server, object) = (&service.names.service, dynamic::object(service));
    let docs = format!(
        "An implementation of [`{trait_name}`], ready to register: `router.register({server}::new(implementation))`."
    );
    hygienic! {
        #[doc = #docs]
        #(#cfgs)*
        #[derive(::core::clone::Clone)]
        #vis struct #server {
            implementation: #krate::__private::Arc<#object>,
        }
    }
}

/// Generates the functions `Billing(implementation)`, which `register!` calls, and
/// `BillingClient(implementation)`, for those who name the client there: they have the names and the
/// paths of the types, in the namespace of values.
pub(super) fn constructors(service: &Service) -> TokenStream {
    let Service { vis, trait_name, cfgs, .. } = service;
    let server = &service.names.service;
    let (generics, implementation) = dynamic::implementation(service);
    let functions = [&names::public_ident(trait_name), &service.names.client].map(|name| {
        hygienic! {
            #(#cfgs)*
            #[doc(hidden)]
            #vis fn #name #generics(implementation: #implementation) -> #server {
                #server::new(implementation)
            }
        }
    });
    hygienic!(#(#functions)*)
}

pub(super) fn impls(service: &Service) -> TokenStream {
    let description = description(service);
    let inherent = inherent(service);
    let dispatch = dispatch(service);
    let registrable = registrable(service);
    hygienic! {
        #description
        #inherent
        #dispatch
        #registrable
    }
}

fn description(service: &Service) -> TokenStream {
    let Service { krate, name, docs, .. } = service;
    let methods = service.methods.iter().map(|method| {
        let (cfgs, marker) = (&method.cfgs, method::marker(method));
        hygienic!(#(#cfgs)* <#marker as #krate::__private::Method>::DESC)
    });
    hygienic! {
        static __SERVICE: #krate::__private::ServiceDesc =
            #krate::__private::ServiceDesc::new(#name, #docs, &[#(#methods),*]);
    }
}

fn inherent(service: &Service) -> TokenStream {
    let Service { krate, vis, .. } = service;
    let server = &service.names.service;
    let object = dynamic::object(service);
    let (generics, implementation) = dynamic::implementation(service);
    let name = server.to_string();
    hygienic! {
        impl #server {
            #[doc = "Takes an implementation of the service."]
            #vis fn new #generics(implementation: #implementation) -> Self {
                Self { implementation: #krate::__private::Arc::new(implementation) }
            }

            #[doc = "Takes an implementation of the service that the application shares."]
            #vis fn from_arc(implementation: #krate::__private::Arc<#object>) -> Self {
                Self { implementation }
            }
        }

        impl ::core::fmt::Debug for #server {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                formatter.debug_struct(#name).finish_non_exhaustive()
            }
        }
    }
}

fn dispatch(service: &Service) -> TokenStream {
    let krate = &service.krate;
    let server = &service.names.service;
    let arms = service.methods.iter().map(|method| dispatch_arm(service, method));
    hygienic! {
        impl #krate::__private::Dispatch for #server {
            fn desc(&self) -> &'static #krate::__private::ServiceDesc {
                &__SERVICE
            }

            fn dispatch(
                &self,
                index: usize,
                call: #krate::__private::Call,
            ) -> #krate::__private::BoxFuture<
                'static,
                ::core::result::Result<#krate::__private::Reply, #krate::__private::Error>,
            > {
                let service = ::core::clone::Clone::clone(&self.implementation);
                match index {
                    #(#arms)*
                    _ => #krate::__private::unknown_method(call),
                }
            }
        }
    }
}

fn dispatch_arm(service: &Service, method: &Method) -> TokenStream {
    let krate = &service.krate;
    let (cfgs, index, marker) = (&method.cfgs, method.index, method::marker(method));
    let bound = method.args.iter().map(|argument| &argument.ident);
    let passed = method.args.iter().map(|argument| {
        let ident = &argument.ident;
        match argument.borrowed.as_ref().map(|borrowed| &borrowed.form) {
            None => hygienic!(#ident),
            Some(BorrowForm::Reference) => hygienic!(::core::borrow::Borrow::borrow(&#ident)),
            Some(BorrowForm::Optional) => {
                hygienic!(#ident.as_ref().map(|value| ::core::borrow::Borrow::borrow(value)))
            }
            Some(BorrowForm::Slice(_)) => hygienic!(&#krate::__private::borrow_all(&#ident)[..]),
            Some(BorrowForm::Cow(_)) => hygienic!(::std::borrow::Cow::Owned(#ident)),
        }
    });
    let call = dynamic::call(service, method, &hygienic!(&*service), passed);
    hygienic! {
        #(#cfgs)*
        #index => #krate::__private::serve::<#marker, _>(call, move |(#(#bound,)*)| async move {
            #call.await
        }),
    }
}

fn registrable(service: &Service) -> TokenStream {
    let krate = &service.krate;
    let (server, object) = (&service.names.service, dynamic::object(service));
    hygienic! {
        impl #krate::__private::Registrable for #server {
            type Dyn = #object;

            fn into_parts(
                self,
            ) -> (#krate::__private::Arc<Self::Dyn>, #krate::__private::Arc<dyn #krate::__private::Dispatch>) {
                (::core::clone::Clone::clone(&self.implementation), #krate::__private::Arc::new(self))
            }
        }
    }
}
