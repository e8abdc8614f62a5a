//! Validation of methods.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    FnArg, GenericParam, Lifetime, PatType, Receiver, ReceiverKind, Safety, Signature, Visibility,
};

use crate::attributes;
use crate::diag::Diagnostics;
use crate::model::{Argument, Method};
use crate::parse::{self, ParsedMethod};
use crate::validate::{borrow, types};

/// The runtime implements its traits for up to this many arguments.
const MAX_ARGS: usize = 12;

/// Names of functions that every client has.
const RESERVED_NAMES: [&str; 5] = ["new", "direct", "rehearse", "with_timeout", "clone"];

/// Validates a method. Returns it if enough of it was valid to build it.
pub(super) fn lower(
    index: usize,
    source: &ParsedMethod,
    diagnostics: &mut Diagnostics,
) -> Option<Method> {
    check_qualifiers(source, diagnostics);
    check_name(&source.sig.ident, diagnostics);
    check_generics(&source.sig, diagnostics);
    let self_lifetime = receiver(&source.sig, diagnostics);
    let args = arguments(&source.sig, diagnostics);
    let output = types::output(&source.sig, diagnostics);
    let (promises, noop) = attributes::helpers(&source.attrs, diagnostics);
    Some(Method {
        index,
        ident: source.sig.ident.clone(),
        name: source.sig.ident.unraw().to_string(),
        docs: attributes::docs(&source.attrs),
        cfgs: attributes::cfgs(&source.attrs),
        client_attrs: attributes::client_attrs(&source.attrs),
        generics: source.sig.generics.clone(),
        self_lifetime,
        args: args?,
        output: output?,
        promises,
        noop,
    })
}

fn check_qualifiers(source: &ParsedMethod, diagnostics: &mut Diagnostics) {
    let sig = &source.sig;
    if !matches!(source.vis, Visibility::Inherited) {
        diagnostics.on(&source.vis, "remove this: a method is as visible as its trait");
    }
    if let Some(token) = &sig.constness {
        diagnostics.on(token, "remove `const`: a call to a service cannot run in the compiler");
    } else if sig.asyncness.is_none() {
        diagnostics.on(
            sig.fn_token,
            "write `async fn`: a call may cross processes, so its caller has to await it",
        );
    }
    if let Safety::Unsafe(_) | Safety::Safe(_) = &sig.safety {
        diagnostics.on(
            &sig.safety,
            "remove this: a call from another process could not keep an `unsafe` contract",
        );
    }
    if let Some(abi) = &sig.abi {
        diagnostics.on(abi, "remove this: a method of a service has no ABI of its own");
    }
    if let Some(dots) = &sig.variadic {
        diagnostics.on(dots, "write each argument out: a service has no variadic methods");
    }
}

fn check_name(ident: &Ident, diagnostics: &mut Diagnostics) {
    if RESERVED_NAMES.iter().any(|reserved| ident.unraw() == reserved) {
        diagnostics.at(
            ident.span(),
            format!(
                "the client of a service has a function called `{}` itself: give this method another name",
                ident.unraw()
            ),
        );
    }
}

fn check_generics(sig: &Signature, diagnostics: &mut Diagnostics) {
    for param in &sig.generics.params {
        if !matches!(param, GenericParam::Lifetime(_)) {
            let message =
                "write a concrete type: what is sent to another process needs one known form";
            diagnostics.on(param, message);
        }
    }
    if let Some(clause) = &sig.generics.where_clause {
        diagnostics
            .on(clause, "remove the `where` clause: the types of a service method are concrete");
    }
}

/// Returns the lifetime of `&'a self`.
fn receiver(sig: &Signature, diagnostics: &mut Diagnostics) -> Option<Lifetime> {
    let Some(receiver) = sig.receiver() else {
        diagnostics.at(
            sig.ident.span(),
            "write `&self` as the first argument: a call goes to an implementation",
        );
        return None;
    };
    for attr in &receiver.attrs {
        diagnostics.on(attr, ARGUMENT_ATTRIBUTE);
    }
    match &receiver.kind {
        ReceiverKind::Reference(_, lifetime, None) => borrow::named(lifetime.as_ref()),
        _ => {
            diagnostics.on(
                without_attributes(receiver),
                "write `&self`: an implementation is shared by all its callers",
            );
            None
        }
    }
}

fn without_attributes(receiver: &Receiver) -> Receiver {
    Receiver { attrs: Vec::new(), ..receiver.clone() }
}

const ARGUMENT_ATTRIBUTE: &str =
    "remove this attribute: the arguments of a service method take none";

fn arguments(sig: &Signature, diagnostics: &mut Diagnostics) -> Option<Vec<Argument>> {
    let typed: Vec<&PatType> = sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        })
        .collect();
    if let Some(extra) = typed.get(MAX_ARGS) {
        let count = typed.len();
        diagnostics.on(
            extra,
            format!("{count} arguments, the limit is {MAX_ARGS}: put some of them into a struct"),
        );
    }
    let args: Vec<_> =
        typed.into_iter().map(|argument| self::argument(argument, diagnostics)).collect();
    let args: Vec<Argument> = args.into_iter().collect::<Option<_>>()?;
    check_distinct(&args, diagnostics);
    Some(args)
}

fn argument(source: &PatType, diagnostics: &mut Diagnostics) -> Option<Argument> {
    for attr in &source.attrs {
        diagnostics.on(attr, ARGUMENT_ATTRIBUTE);
    }
    let name = parse::plain_name(&source.pat);
    if name.is_none() {
        diagnostics.at(
            source.pat.span(),
            "write a plain name: it is the key of this argument in a JSON request",
        );
    }
    let borrowed = types::argument(&source.ty, diagnostics);
    let ident = name?.clone();
    Some(Argument { name: ident.unraw().to_string(), ident, ty: (*source.ty).clone(), borrowed })
}

fn check_distinct(args: &[Argument], diagnostics: &mut Diagnostics) {
    for (i, argument) in args.iter().enumerate() {
        if args[..i].iter().any(|earlier| earlier.name == argument.name) {
            let message =
                format!("a second argument called `{}`: give it another name", argument.name);
            diagnostics.at(argument.ident.span(), message);
        }
    }
}
