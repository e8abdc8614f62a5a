//! The attributes of a method: ours, which are read and removed, and the user's, which stay.

use proc_macro2::Ident;
use syn::{Attribute, Expr, ExprLit, Lit, Meta};

use crate::diag::Diagnostics;
use crate::model::{Noop, Promises};

/// The attributes that mean something to `#[service]`.
const HELPERS: [&str; 4] = ["idempotent", "readonly", "no_cancel", "noop"];

pub(crate) fn is_helper(attr: &Attribute) -> bool {
    HELPERS.iter().any(|helper| attr.path().is_ident(helper))
}

/// The `cfg`s among `attrs`: they are repeated on everything that is generated for the same thing.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    matching(attrs, &["cfg"])
}

pub(crate) fn matching(attrs: &[Attribute], names: &[&str]) -> Vec<Attribute> {
    attrs.iter().filter(|attr| names.iter().any(|name| attr.path().is_ident(name))).cloned().collect()
}

/// The doc comment as text. `#[doc = include_str!(..)]` and the like stay out of it.
pub(crate) fn docs(attrs: &[Attribute]) -> String {
    let lines =
        attrs.iter().filter_map(doc_line).map(|line| line.strip_prefix(' ').map_or(line.clone(), str::to_owned));
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

/// Reads our attributes on a method.
pub(crate) fn helpers(attrs: &[Attribute], diagnostics: &mut Diagnostics) -> (Promises, Option<Noop>) {
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
            "noop" => noop = read_noop(attr, diagnostics),
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

fn read_noop(attr: &Attribute, diagnostics: &mut Diagnostics) -> Option<Noop> {
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
