//! Attributes of a method: those of `#[service]`, which are read and removed, and those of the
//! user, which stay.

use proc_macro2::Ident;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token, parse_quote_spanned};

use crate::diag::Diagnostics;
use crate::model::{Noop, Promises};

/// Helper attributes of `#[service]`.
const HELPERS: [&str; 4] = ["idempotent", "readonly", "no_cancel", "noop"];

/// Returns whether an attribute is `#[async_trait]`, under any path.
pub(crate) fn is_async_trait(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == "async_trait")
}

pub(crate) fn is_helper(attr: &Attribute) -> bool {
    HELPERS.iter().any(|helper| attr.path().is_ident(helper))
}

/// Returns whether an attribute is a `cfg_attr` with a helper attribute, which is an error.
pub(crate) fn is_conditional_helper(attr: &Attribute) -> bool {
    conditional(attr).is_some_and(|(_, metas)| metas.iter().any(|meta| helper_of(meta).is_some()))
}

fn helper_of(meta: &Meta) -> Option<&'static str> {
    HELPERS.into_iter().find(|helper| meta.path().is_ident(helper))
}

/// Returns the `cfg`s among `attrs`, including those inside a `cfg_attr`. They are repeated on
/// every item that is generated for the same source item.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs
        .iter()
        .filter_map(
            |attr| if attr.path().is_ident("cfg") { Some(attr.clone()) } else { inner_cfgs(attr) },
        )
        .collect()
}

/// Reduces a `cfg_attr` to its `cfg`s: `#[cfg_attr(a, cfg(b), doc(hidden))]` becomes `#[cfg_attr(a,
/// cfg(b))]`.
fn inner_cfgs(attr: &Attribute) -> Option<Attribute> {
    let (condition, metas) = conditional(attr)?;
    let cfgs: Vec<_> = metas.into_iter().filter(|meta| meta.path().is_ident("cfg")).collect();
    (!cfgs.is_empty())
        .then(|| parse_quote_spanned!(attr.span()=> #[cfg_attr(#condition, #(#cfgs),*)]))
}

/// Returns the condition of a `cfg_attr` and the attributes that it expands to.
fn conditional(attr: &Attribute) -> Option<(Meta, Vec<Meta>)> {
    if !attr.path().is_ident("cfg_attr") {
        return None;
    }
    let list = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let mut metas = list.into_iter();
    Some((metas.next()?, metas.collect()))
}

/// Reports helper attributes that depend on a `cfg`: client and server have to agree on them,
/// however each is built.
fn check_conditional(attrs: &[Attribute], diagnostics: &mut Diagnostics) {
    for meta in attrs.iter().filter_map(conditional).flat_map(|(_, metas)| metas) {
        if let Some(helper) = helper_of(&meta) {
            diagnostics.on(
                &meta,
                format!("`#[{helper}]` cannot depend on a `cfg`: write it without, or write the method twice, each under a `#[cfg(..)]` of its own"),
            );
        }
    }
}

/// Returns the attributes of the trait's method that the client's method repeats.
pub(crate) fn client_attrs(attrs: &[Attribute]) -> Vec<Attribute> {
    let mut client_attrs = matching(attrs, &["doc", "deprecated"]);
    client_attrs.extend(cfgs(attrs));
    client_attrs
}

fn matching(attrs: &[Attribute], names: &[&str]) -> Vec<Attribute> {
    attrs
        .iter()
        .filter(|attr| names.iter().any(|name| attr.path().is_ident(name)))
        .cloned()
        .collect()
}

/// Returns the doc comment as text, without `#[doc = include_str!(..)]` and the like.
pub(crate) fn docs(attrs: &[Attribute]) -> String {
    let lines = attrs
        .iter()
        .filter_map(doc_line)
        .map(|line| line.strip_prefix(' ').map_or(line.clone(), str::to_owned));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn doc_line(attr: &Attribute) -> Option<String> {
    match &attr.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Parses the helper attributes of a method.
pub(crate) fn helpers(
    attrs: &[Attribute],
    diagnostics: &mut Diagnostics,
) -> (Promises, Option<Noop>) {
    check_conditional(attrs, diagnostics);
    let mut promises = Promises::default();
    let mut noop = None;
    let mut seen: Vec<&Ident> = Vec::new();
    for attr in attrs.iter().filter(|attr| is_helper(attr)) {
        let Some(name) = attr.path().get_ident() else { continue };
        if seen.contains(&name) {
            diagnostics.on(attr, format!("`#[{name}]` is given twice: remove one"));
            continue;
        }
        seen.push(name);
        match name.to_string().as_str() {
            "noop" => noop = parse_noop(attr, diagnostics),
            other => {
                check_bare(attr, other, diagnostics);
                promises.idempotent |= other == "idempotent";
                promises.readonly |= other == "readonly";
                promises.no_cancel |= other == "no_cancel";
            }
        }
    }
    (promises, noop)
}

fn check_bare(attr: &Attribute, name: &str, diagnostics: &mut Diagnostics) {
    if !matches!(attr.meta, Meta::Path(_)) {
        diagnostics.on(&attr.meta, format!("`#[{name}]` takes no arguments: write `#[{name}]`"));
    }
}

fn parse_noop(attr: &Attribute, diagnostics: &mut Diagnostics) -> Option<Noop> {
    match &attr.meta {
        Meta::NameValue(meta) => return Some(Noop::Value(meta.value.clone())),
        Meta::List(list) => {
            if let Ok(word) = list.parse_args::<Ident>()
                && word == "default"
            {
                return Some(Noop::Default(word.span()));
            }
        }
        Meta::Path(_) => {}
    }
    diagnostics.on(
        &attr.meta,
        "say what a noop route answers: `#[noop = expression]`, or `#[noop(default)]` for `Default::default()`",
    );
    None
}
