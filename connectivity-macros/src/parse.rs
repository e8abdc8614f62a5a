//! Parses a trait without validating it: an error must not hide the next one.

use proc_macro2::{Group, Ident};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Generics, LitStr, Pat, Signature, Token, TraitItem, TypeParamBound, Visibility,
    braced, token,
};

/// The annotated trait.
pub(crate) struct ServiceTrait {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) items: Vec<Item>,
}

/// Item of a trait.
pub(crate) enum Item {
    Method(Box<ParsedMethod>),
    /// An associated type or constant, or a macro call.
    Other(Box<TraitItem>),
}

/// A function of the trait, valid or not.
pub(crate) struct ParsedMethod {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The braces and their tokens, unparsed: incomplete code in an editor must not make the whole
    /// trait unreadable.
    pub(crate) body: Option<Group>,
}

impl ServiceTrait {
    pub(crate) fn methods(&self) -> impl Iterator<Item = &ParsedMethod> {
        self.items.iter().filter_map(|item| match item {
            Item::Method(method) => Some(&**method),
            Item::Other(_) => None,
        })
    }
}

impl Parse for ServiceTrait {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let unsafety = input.parse()?;
        if !input.peek(Token![trait]) {
            return Err(
                input.error("`#[service]` goes on a trait: `#[service] pub trait Billing { .. }`")
            );
        }
        input.parse::<Token![trait]>()?;
        let ident = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let supertraits = parse_supertraits(input)?;
        generics.where_clause = input.parse()?;

        let content;
        braced!(content in input);
        attrs.extend(content.call(Attribute::parse_inner)?);
        let mut items = Vec::new();
        while !content.is_empty() {
            items.push(content.parse()?);
        }
        Ok(Self { attrs, vis, unsafety, ident, generics, supertraits, items })
    }
}

fn parse_supertraits(input: ParseStream<'_>) -> syn::Result<Punctuated<TypeParamBound, Token![+]>> {
    let mut bounds = Punctuated::new();
    if input.parse::<Option<Token![:]>>()?.is_none() {
        return Ok(bounds);
    }
    while !input.peek(Token![where]) && !input.peek(token::Brace) {
        bounds.push_value(input.parse()?);
        if !input.peek(Token![+]) {
            break;
        }
        bounds.push_punct(input.parse()?);
    }
    Ok(bounds)
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        ahead.call(Attribute::parse_outer)?;
        ahead.parse::<Visibility>()?;
        if is_function(&ahead)? {
            input.parse().map(|method| Self::Method(Box::new(method)))
        } else {
            input.parse().map(|item| Self::Other(Box::new(item)))
        }
    }
}

/// Returns whether a function follows: any qualifiers, then `fn`.
fn is_function(ahead: ParseStream<'_>) -> syn::Result<bool> {
    while ahead.peek(Token![const])
        || ahead.peek(Token![async])
        || ahead.peek(Token![unsafe])
        || ahead.peek(Token![extern])
    {
        ahead.call(Ident::parse_any)?;
        ahead.parse::<Option<LitStr>>()?;
    }
    Ok(ahead.peek(Token![fn]))
}

impl Parse for ParsedMethod {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let body = if input.peek(token::Brace) {
            Some(input.parse()?)
        } else {
            input.parse::<Token![;]>()?;
            None
        };
        Ok(Self { attrs, vis, sig, body })
    }
}

/// Returns the name of an argument if its pattern is a plain name.
pub(crate) fn plain_name(pat: &Pat) -> Option<&Ident> {
    match pat {
        Pat::Ident(pat)
            if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() =>
        {
            Some(&pat.ident)
        }
        _ => None,
    }
}
