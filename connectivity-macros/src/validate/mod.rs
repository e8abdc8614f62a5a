//! Turns the parsed trait into a [`Service`], or reports what to write instead.
//!
//! Every error is at the smallest token that is wrong. A failed check does not stop the next one.

mod borrow;
mod instead;
mod method;
mod types;

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::{TraitItem, TypeParamBound};

use crate::args::ServiceArgs;
use crate::attributes;
use crate::diag::Diagnostics;
use crate::model::{Form, Service};
use crate::names::{self, Names};
use crate::parse::{Item, ParsedMethod, ServiceTrait};

/// The runtime has one bit per method in a mask of this size.
const MAX_METHODS: usize = 256;

/// Validates the trait. Returns the service if enough of it was valid to build it.
pub(crate) fn service(
    source: &ServiceTrait,
    args: &ServiceArgs,
    diagnostics: &mut Diagnostics,
) -> Option<Service> {
    check_head(source, diagnostics);
    check_async_trait(source, args, diagnostics);
    check_items(source, diagnostics);
    check_method_names(source, diagnostics);
    let name = service_name(source, args, diagnostics);
    let methods: Vec<_> = source
        .methods()
        .enumerate()
        .map(|(index, method)| method::lower(index, method, diagnostics))
        .collect();
    Some(Service {
        krate: args.krate.clone(),
        name,
        docs: attributes::docs(&source.attrs),
        cfgs: attributes::cfgs(&source.attrs),
        vis: source.vis.clone(),
        trait_name: source.ident.clone(),
        names: Names::of(&source.ident, args.dynamic.as_ref()),
        has_named_object: args.dynamic.is_some(),
        form: form(source),
        methods: methods.into_iter().collect::<Option<_>>()?,
    })
}

/// Returns the form of a trait.
pub(crate) fn form(source: &ServiceTrait) -> Form {
    if source.attrs.iter().any(attributes::is_async_trait) { Form::AsyncTrait } else { Form::Plain }
}

pub(crate) const ASYNC_TRAIT_ABOVE: &str =
    "swap the two lines: `#[service]` goes above `#[async_trait]`, which it has to see";

/// Returns whether `#[async_trait]` has expanded the trait already: its methods have a lifetime of
/// that name.
pub(crate) fn is_expanded_by_async_trait(source: &ServiceTrait) -> bool {
    let mut lifetimes = source.methods().flat_map(|method| method.sig.generics.lifetimes());
    lifetimes.any(|param| param.lifetime.ident == "async_trait")
}

pub(crate) const AUTOMOCK_ABOVE: &str = "; if `#[automock]` stands above it, swap the two lines: mockall copies `#[service]` to the mock";

/// Returns whether an item may be part of a mock, to which mockall copies the attributes of the trait
/// that stand below its own.
pub(crate) fn is_of_mock(item: &TokenStream) -> bool {
    item.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident.to_string().to_ascii_lowercase().contains("mock"),
        TokenTree::Group(group) => is_of_mock(&group.stream()),
        _ => false,
    })
}

fn check_async_trait(source: &ServiceTrait, args: &ServiceArgs, diagnostics: &mut Diagnostics) {
    if let Some(name) = args.dynamic.as_ref().filter(|_| form(source) == Form::AsyncTrait) {
        let message = format!("remove `dyn`: `dyn {}` is the trait object itself", source.ident);
        diagnostics.on(name, message);
    }
    for attr in source.attrs.iter().filter(|attr| attributes::is_async_trait(attr)) {
        if !matches!(attr.meta, syn::Meta::Path(_)) {
            let message = "write `#[async_trait]` without `?Send`: a call moves between threads";
            diagnostics.on(&attr.meta, message);
        }
    }
}

fn service_name(
    source: &ServiceTrait,
    args: &ServiceArgs,
    diagnostics: &mut Diagnostics,
) -> String {
    if let Some(name) = &args.name {
        return name.value();
    }
    let name = names::snake_case(&source.ident);
    if let Err(message) = names::check_service_name(&name) {
        diagnostics
            .on(&source.ident, format!("{message}; give it one with `#[service(name = \"...\")]`"));
    }
    name
}

fn check_head(source: &ServiceTrait, diagnostics: &mut Diagnostics) {
    if let Some(token) = &source.unsafety {
        diagnostics
            .on(token, "remove `unsafe`: a service has no contract that its callers could break");
    }
    if !source.generics.params.is_empty() {
        let message = "a service is one contract for all its callers: remove the parameters and write concrete types";
        diagnostics.on(&source.generics.params, message);
    }
    if let Some(clause) = &source.generics.where_clause {
        diagnostics.on(
            clause,
            "remove the `where` clause: a service has no parameters that it could bound",
        );
    }
    let form = form(source);
    for bound in source.supertraits.iter().filter(|bound| !is_implied(bound, form)) {
        let message = "remove this bound: a service is `Send + Sync + 'static`, which `#[service]` adds, and nothing else";
        diagnostics.on(bound, message);
    }
    for attr in source.attrs.iter().filter(|attr| attributes::is_helper(attr)) {
        diagnostics.on(
            &attr.meta,
            "this attribute describes a method: write it on the methods that it is true of",
        );
    }
}

/// Returns whether client and implementations have this bound anyway. A trait of `async_trait` may
/// ask for `Debug`, which the client has.
fn is_implied(bound: &TypeParamBound, form: Form) -> bool {
    match bound {
        TypeParamBound::Trait(bound) if bound.maybe.is_none() => {
            bound.path.segments.last().is_some_and(|segment| {
                segment.ident == "Send"
                    || segment.ident == "Sync"
                    || segment.ident == "Debug" && form == Form::AsyncTrait
            })
        }
        TypeParamBound::Lifetime(lifetime) => lifetime.ident == "static",
        _ => false,
    }
}

fn check_items(source: &ServiceTrait, diagnostics: &mut Diagnostics) {
    for item in &source.items {
        let Item::Other(item) = item else { continue };
        let message = match &**item {
            TraitItem::Type(_) => {
                "a service has no associated types: write the concrete type in the methods"
            }
            TraitItem::Const(_) => {
                "a service has no associated constants: write the constant beside the trait"
            }
            TraitItem::Macro(_) => {
                "`#[service]` cannot see what a macro expands to: write the methods out"
            }
            _ => "a service consists of `async fn` methods only",
        };
        diagnostics.on(item, message);
    }
    match source.methods().count() {
        0 if source.items.is_empty() => {
            diagnostics.on(
                &source.ident,
                "a service needs at least one method: `async fn name(&self) -> Result<T, E>;`",
            );
        }
        0..=MAX_METHODS => {}
        count => {
            let message = format!(
                "this trait has {count} methods, the limit is {MAX_METHODS}: split it into two services"
            );
            diagnostics.on(&source.ident, message);
        }
    }
}

/// Reports methods with equal names, unless `cfg` can keep them apart.
fn check_method_names(source: &ServiceTrait, diagnostics: &mut Diagnostics) {
    let mut first: HashMap<String, &ParsedMethod> = HashMap::new();
    for method in source.methods() {
        let Some(earlier) = first.insert(method.sig.ident.to_string(), method) else { continue };
        if [earlier, method].iter().any(|method| attributes::cfgs(&method.attrs).is_empty()) {
            let message =
                format!("a second method called `{}`: give it another name", method.sig.ident);
            diagnostics.at(method.sig.ident.span(), message);
        }
    }
}
