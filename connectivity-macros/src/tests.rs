//! Snapshots of expansions, formatted. `INSTA_UPDATE=always cargo test -p connectivity-macros`
//! updates them; review them like code.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand_service;

/// Returns the expansion, formatted. Parsing it also proves that it is a list of items.
fn expand(args: TokenStream, item: &TokenStream) -> String {
    let expansion = expand_service(args, item);
    prettyplease::unparse(&syn::parse2(expansion).unwrap())
}

#[test]
fn plain() {
    let item = quote! {
        /// Money.
        pub trait Billing {
            /// Charges an order.
            async fn charge(&self, order: &str, cents: u64) -> Result<Receipt, BillingError>;
            async fn ping(&self) -> Result<(), BillingError>;
        }
    };
    insta::assert_snapshot!(expand(quote!(), &item));
}

#[test]
fn every_attribute() {
    let item = quote! {
        pub trait Prices {
            #[idempotent]
            #[noop = 1 + 1]
            async fn get(&self, item: &str) -> PriceResult<u64>;
            #[readonly]
            #[noop(default)]
            #[must_use]
            async fn all(&self) -> PriceResult<Vec<u64>>;
            #[no_cancel]
            #[deprecated]
            async fn sale(&self, r#type: Type) -> PriceResult<()>;
        }
    };
    insta::assert_snapshot!(expand(quote!(name = "price-list"), &item));
}

#[test]
fn cfg_visibility_crate_and_default_body() {
    let item = quote! {
        #[cfg(unix)]
        pub(crate) trait Files: Send + Sync {
            #[cfg(feature = "list")]
            async fn list<'a>(&'a self, directory: &'a Path) -> Result<Vec<PathBuf>, Error>;
            async fn count(&self, directory: &Path) -> Result<usize, Error> {
                Ok(self.list(directory).await?.len())
            }
        }
    };
    insta::assert_snapshot!(expand(quote!(crate = crate::runtime), &item));
}

#[test]
fn under_async_trait() {
    let item = quote! {
        #[automock]
        #[async_trait]
        pub trait Billing: Send + Sync {
            #[readonly]
            async fn find<'a>(
                &self,
                order: &str,
                note: Option<&'a str>,
                cents: u64,
            ) -> Result<Receipt, BillingError>;
        }
    };
    insta::assert_snapshot!(expand(quote!(), &item));
}

#[test]
fn a_trait_with_mistakes_keeps_its_names() {
    let item = quote! {
        pub trait Stock<T> {
            async fn take(&mut self, (x, y): (u64, u64)) -> u64;
            async fn count(&self) -> Result<u64, Error>;
        }
    };
    insta::assert_snapshot!(expand(quote!(colour = "red"), &item));
}

#[test]
fn there_is_a_limit_to_methods() {
    let methods = |count: usize| {
        let names = (0..count).map(|i| quote::format_ident!("m{i}"));
        quote!(trait Many { #(async fn #names(&self) -> Result<(), Error>;)* })
    };
    assert!(!expand_service(quote!(), &methods(256)).to_string().contains("compile_error"));
    assert!(
        expand_service(quote!(), &methods(257))
            .to_string()
            .contains("257 methods, the limit is 256")
    );
}

/// The macro does not panic on any input, and emits some output beside its errors.
#[test]
fn no_input_panics() {
    for (args, item) in [
        ("", ""),
        ("", "pub"),
        ("", "trait"),
        ("", "fn f() {}"),
        ("", "trait T = Send;"),
        ("", "trait T: { async fn f(&self"),
        (",", "trait T { async fn f(&self); }"),
        ("crate", "trait T { type X; fn; }"),
        ("name", "trait r#type { async fn r#fn(&self, r#in: u8) -> Result<(), E>; }"),
        (
            "name = \"\"",
            "trait T { async fn f(&self, ...) -> !; default fn g(); pub(crate) fn h(self: &Self); }",
        ),
        (
            "crate = a::<b>",
            "trait _T { #[noop] #[noop()] #[noop(a, b)] #[idempotent = 1] async fn f(); }",
        ),
        (
            "name = \"\\u{0}\"",
            "unsafe auto trait T<'a, const N: u8>: 'a + ?Sized where Self: Sized { m!{} }",
        ),
    ] {
        let (Ok(args), Ok(item)) = (args.parse(), item.parse()) else { continue };
        let output = expand_service(args, &item).to_string();
        assert!(
            output.contains("compile_error") || output.contains("__private"),
            "{item}: {output}"
        );
    }
}
