//! Names of the service on the wire, and of the generated items.

use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;

/// Maximum length of a service name, in bytes. The rule of names is that of
/// `connectivity_core::Name`: tests compare the two.
pub(crate) const MAX_NAME_LEN: usize = 63;

/// Public items that are generated for a trait.
pub(crate) struct Names {
    /// The object-safe form: the name that the user chose, else the hidden `__DynBilling`.
    pub(crate) dynamic: Ident,
    /// `BillingClient`.
    pub(crate) client: Ident,
    /// `BillingService`, an implementation ready to register.
    pub(crate) service: Ident,
}

impl Names {
    pub(crate) fn of(trait_name: &Ident, dynamic: Option<&Ident>) -> Self {
        let base = trait_name.unraw();
        let span = public_span(trait_name);
        let hidden = || format_ident!("__Dyn{base}", span = span);
        Self {
            dynamic: dynamic.map_or_else(hidden, public_ident),
            client: format_ident!("{base}Client", span = span),
            service: format_ident!("{base}Service", span = span),
        }
    }
}

/// Returns the user's identifier for generated code. It keeps its name and its location, but the
/// compiler treats it as generated, so that lints such as `dead_code` ignore it.
pub(crate) fn public_ident(user: &Ident) -> Ident {
    let mut ident = user.clone();
    ident.set_span(public_span(user));
    ident
}

fn public_span(user: &Ident) -> Span {
    user.span().resolved_at(Span::call_site())
}

/// Converts to snake case: `order_book` for `OrderBook`, `http_gate` for `HTTPGate`.
pub(crate) fn snake_case(ident: &Ident) -> String {
    let chars: Vec<char> = ident.unraw().to_string().chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let after_word = i > 0 && (chars[i - 1].is_lowercase() || chars[i - 1].is_ascii_digit());
        let before_word = i > 0
            && chars[i - 1].is_uppercase()
            && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_word || before_word) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Converts to camel case: `OrderBook` for `order_book`.
pub(crate) fn camel_case(ident: &Ident) -> String {
    let ident = ident.unraw().to_string();
    let words = ident.split('_').filter_map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>())
    });
    words.collect()
}

/// Checks the name of a service.
///
/// # Errors
/// Returns what is wrong with the name.
pub(crate) fn check_service_name(name: &str) -> Result<(), String> {
    let rule = "start with a letter or digit, then letters, digits, `_` and `-`";
    if name.is_empty() {
        return Err(format!("the name of a service cannot be empty: {rule}"));
    }
    if name.len() > MAX_NAME_LEN {
        return Err(format!(
            "the name of this service has {} bytes, the limit is {MAX_NAME_LEN}",
            name.len()
        ));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.chars().all(valid) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("`{}` cannot be the name of a service: {rule}", name.escape_debug()));
    }
    Ok(())
}

// The macro cannot depend on the crate that exports it.
#[cfg(test)]
#[path = "../../connectivity-core/src/name.rs"]
#[allow(dead_code, unreachable_pub, unexpected_cfgs, reason = "only the rule is compared")]
mod framework;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_become_snake_case() {
        let cases = [
            ("Billing", "billing"),
            ("OrderBook", "order_book"),
            ("HTTPGate", "http_gate"),
            ("StoreV2", "store_v2"),
            ("Store2Go", "store2_go"),
            ("already_snake", "already_snake"),
            ("ABC", "abc"),
        ];
        for (ident, name) in cases {
            assert_eq!(snake_case(&Ident::new(ident, Span::call_site())), name);
        }
    }

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "9lives", "billing", "order-book", "Order_Book", &"x".repeat(63)] {
            assert_eq!(check_service_name(good), Ok(()), "{good}");
        }
        for bad in ["", "_a", "-a", "a.b", "a b", "é", "a\n", &"x".repeat(64)] {
            assert!(check_service_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_rule_is_the_one_of_the_framework() {
        const CHARS: [char; 10] = ['a', 'Z', '0', '_', '.', ':', '-', ' ', 'é', '\n'];
        let two = CHARS.into_iter().flat_map(|one| CHARS.map(|other| format!("{one}{other}")));
        let long = (62..=64).map(|length| "a".repeat(length));
        for name in CHARS.into_iter().map(String::from).chain(two).chain(long) {
            let is_name = framework::Name::parse_service(&name).is_ok();
            assert_eq!(check_service_name(&name).is_ok(), is_name, "{name:?}");
        }
    }
}
