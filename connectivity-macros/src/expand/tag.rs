//! Generates one tag type per argument type. If the user's type lacks an impl, the error is in the
//! impl of its tag only, at the user's tokens.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::Attribute;

use crate::expand::hygienic;
use crate::model::{Argument, BorrowForm, Borrowed, Service};

/// Tags of a service, one per spelling of a type.
pub(super) struct Tags<'a> {
    tags: Vec<Tag<'a>>,
}

struct Tag<'a> {
    /// Part of the key: a method that `cfg` leaves out must not remove the tag that another method
    /// uses.
    cfgs: &'a [Attribute],
    argument: &'a Argument,
    spelling: String,
    name: Ident,
}

impl<'a> Tags<'a> {
    pub(super) fn of(service: &'a Service) -> Self {
        let mut tags = Self { tags: Vec::new() };
        for method in &service.methods {
            for argument in &method.args {
                tags.add(&method.cfgs, argument);
            }
        }
        tags
    }

    fn add(&mut self, cfgs: &'a [Attribute], argument: &'a Argument) {
        if self.find(cfgs, argument).is_none() {
            let name = format_ident!("__T{}", self.tags.len(), span = Span::mixed_site());
            self.tags.push(Tag { cfgs, argument, spelling: spelling(cfgs, argument), name });
        }
    }

    fn find(&self, cfgs: &[Attribute], argument: &Argument) -> Option<&Tag<'a>> {
        let spelling = spelling(cfgs, argument);
        self.tags.iter().find(|tag| tag.spelling == spelling)
    }

    /// Returns `Own<__T0>`, `Ref<__T0>`, `OptionRef<__T0>` and so on.
    pub(super) fn parameter(
        &self,
        krate: &syn::Path,
        cfgs: &[Attribute],
        argument: &Argument,
    ) -> TokenStream {
        let name = self.find(cfgs, argument).map(|tag| &tag.name);
        let kind = match argument.borrowed.as_ref().map(|borrowed| &borrowed.form) {
            None => "Own",
            Some(BorrowForm::Reference) => "Ref",
            Some(BorrowForm::Optional) => "OptionRef",
            Some(BorrowForm::Slice(_)) => "SliceRef",
            Some(BorrowForm::Cow(_)) => "CowRef",
        };
        let kind = Ident::new(kind, Span::mixed_site());
        hygienic!(#krate::__private::#kind<#name>)
    }

    pub(super) fn definitions(&self, krate: &syn::Path) -> TokenStream {
        self.tags.iter().map(|tag| tag.definition(krate)).collect()
    }
}

fn spelling(cfgs: &[Attribute], argument: &Argument) -> String {
    let cfgs = cfgs.iter().map(ToTokens::to_token_stream).collect::<TokenStream>();
    format!("{cfgs} {}", argument.ty.to_token_stream())
}

impl Tag<'_> {
    fn definition(&self, krate: &syn::Path) -> TokenStream {
        let Self { cfgs, argument, name, .. } = self;
        let types = match &argument.borrowed {
            Some(Borrowed { referent, .. }) => hygienic! {
                impl #krate::__private::Referent for #name {
                    type Type = #referent;
                    type Owned = <#referent as ::std::borrow::ToOwned>::Owned;
                }
            },
            None => {
                let ty = &argument.ty;
                hygienic!(impl #krate::__private::Value for #name { type Type = #ty; })
            }
        };
        hygienic! {
            #(#cfgs)*
            struct #name;

            #(#cfgs)*
            #types
        }
    }
}
