//! Arguments of the attribute: `#[service(name = "...", dyn = Name, crate = path)]`.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Path, Token, parse_quote};

use crate::diag::Diagnostics;
use crate::names;

/// Arguments of the attribute.
pub(crate) struct ServiceArgs {
    /// The name on the wire; if there is none, the trait's name in snake case.
    pub(crate) name: Option<LitStr>,
    /// The name of the object-safe form; if there is none, the form has a hidden name.
    pub(crate) dynamic: Option<Ident>,
    /// Path of `connectivity-core` in generated code.
    pub(crate) krate: Path,
}

impl ServiceArgs {
    /// Parses the arguments. Invalid ones are reported and otherwise ignored.
    pub(crate) fn parse(tokens: TokenStream, diagnostics: &mut Diagnostics) -> Self {
        let mut found = Found::default();
        let parser = |input: ParseStream<'_>| found.read(input, diagnostics);
        if let Err(error) = parser.parse2(tokens) {
            diagnostics.push(error);
        }
        Self {
            name: found.name,
            dynamic: found.dynamic,
            krate: found.krate.unwrap_or_else(|| parse_quote!(::connectivity_core)),
        }
    }
}

const EXPECTED: &str = "`#[service]` takes `name = \"...\"`, `dyn = Name` and `crate = path`";

#[derive(Default)]
struct Found {
    name: Option<LitStr>,
    dynamic: Option<Ident>,
    krate: Option<Path>,
}

impl Found {
    fn read(&mut self, input: ParseStream<'_>, diagnostics: &mut Diagnostics) -> syn::Result<()> {
        while !input.is_empty() {
            let key = input
                .call(Ident::parse_any)
                .map_err(|error| syn::Error::new(error.span(), EXPECTED))?;
            match key.to_string().as_str() {
                "name" => {
                    let name = value(input, &key, "name = \"billing\"")?;
                    if let Err(message) = names::check_service_name(&LitStr::value(&name)) {
                        diagnostics.on(&name, message);
                    }
                    set_once(&mut self.name, name, &key, diagnostics);
                }
                "dyn" => {
                    let name = value(input, &key, "dyn = DynBilling")?;
                    set_once(&mut self.dynamic, name, &key, diagnostics);
                }
                "crate" => {
                    let path = value_with(
                        input,
                        &key,
                        "crate = path::to::connectivity_core",
                        Path::parse_mod_style,
                    )?;
                    set_once(&mut self.krate, path, &key, diagnostics);
                }
                other => {
                    return Err(syn::Error::new(
                        key.span(),
                        format!("unknown argument `{other}`: {EXPECTED}"),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, key: &Ident, diagnostics: &mut Diagnostics) {
    if slot.replace(value).is_some() {
        diagnostics.at(key.span(), format!("`{key}` is given twice"));
    }
}

fn value<T: syn::parse::Parse>(
    input: ParseStream<'_>,
    key: &Ident,
    example: &str,
) -> syn::Result<T> {
    value_with(input, key, example, T::parse)
}

fn value_with<T>(
    input: ParseStream<'_>,
    key: &Ident,
    example: &str,
    parse: fn(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    let explain = |error: syn::Error| syn::Error::new(error.span(), format!("write `{example}`"));
    if input.is_empty() {
        return Err(syn::Error::new(key.span(), format!("write `{example}`")));
    }
    input.parse::<Token![=]>().map_err(explain)?;
    parse(input).map_err(explain)
}
