//! Generates one marker type per method. It carries the description and the types, so that bounds
//! are stated, and violated, in one place.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::{Path, Type};

use crate::expand::hygienic;
use crate::expand::tag::Tags;
use crate::expand::type_span::{TypeSpan, TypeSpans};
use crate::model::{Method, Noop, Service};
use crate::names;

/// Returns the name of a marker type in the `const` block, such as `__M0Charge`. It is in camel
/// case because a lint that an application forbids cannot be allowed here.
pub(super) fn marker(method: &Method) -> Ident {
    format_ident!(
        "__M{}{}",
        method.index,
        names::camel_case(&method.ident),
        span = Span::mixed_site()
    )
}

pub(super) fn expand(service: &Service) -> TokenStream {
    let tags = Tags::of(service);
    let spans = TypeSpans::of(service);
    let definitions =
        service.methods.iter().map(|method| definition(service, method, &tags, &spans));
    let tags = tags.definitions(&service.krate);
    hygienic!(#tags #(#definitions)*)
}

fn definition(
    service: &Service,
    method: &Method,
    tags: &Tags<'_>,
    spans: &TypeSpans,
) -> TokenStream {
    let krate = &service.krate;
    let cfgs = &method.cfgs;
    let marker = marker(method);
    let description = description(service, method);
    let args = method.args.iter().map(|argument| tags.parameter(krate, cfgs, argument));
    let (ok_span, err_span) = spans.of_result(&method.output);
    let ok = part_of_result(krate, &method.output, "Ok", ok_span);
    let err = part_of_result(krate, &method.output, "Err", err_span);
    let error_form = error_form(krate, err_span);
    let explain = explain(krate, err_span);
    let output = &method.output;
    let noop = method.noop.as_ref().map(noop);
    hygienic! {
        #(#cfgs)*
        struct #marker;

        #(#cfgs)*
        impl #krate::__private::Method for #marker {
            const DESC: &'static #krate::__private::MethodDesc = &#description;
            type Args = (#(#args,)*);
            type Output = #output;
            type Ok = #ok;
            type Err = #err;
            #error_form

            #explain
            #noop
        }
    }
}

fn description(service: &Service, method: &Method) -> TokenStream {
    let krate = &service.krate;
    let index = method.index;
    let (service_name, name) = (&service.name, &method.name);
    let full_name = format!("{service_name}.{name}");
    let args = method.args.iter().map(|argument| &argument.name);
    let docs = (!method.docs.is_empty()).then(|| {
        let docs = &method.docs;
        hygienic!(.docs(#docs))
    });
    let idempotent = method.promises.idempotent.then(|| hygienic!(.idempotent()));
    let readonly = method.promises.readonly.then(|| hygienic!(.readonly()));
    let no_cancel = method.promises.no_cancel.then(|| hygienic!(.no_cancel()));
    hygienic! {
        #krate::__private::MethodDesc::of::<Self>(#index, #service_name, #name, #full_name, &[#(#args),*])
            #docs #idempotent #readonly #no_cancel
    }
}

/// Generates `<Result<..> as MethodOutput>::Ok`. The compiler reports a missing impl at the spans
/// of the first and the last token.
fn part_of_result(krate: &Path, output: &Type, part: &str, span: TypeSpan) -> TokenStream {
    let part = Ident::new(part, span.last);
    let open = quote_spanned!(span.first=> <);
    hygienic!(#open #output as #krate::__private::MethodOutput>::#part)
}

/// Generates `error_form`. All of its tokens have the span of the type, so that a missing impl is
/// reported there, and once.
fn error_form(krate: &Path, span: TypeSpan) -> TokenStream {
    let form = with_span(span.first, hygienic!(#krate::__private::ErrorForm));
    quote_spanned! {span.first=>
        fn error_form() -> #form<Self::Err> {
            #form::of::<Self, _>()
        }
    }
}

/// Gives tokens a span of the user, so that the compiler reports an error about them as one about
/// the user's code. `$crate` keeps its own, which says what crate it is.
fn with_span(span: Span, tokens: TokenStream) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        if token.to_string() != "$crate" {
            token.set_span(span);
        }
        token
    });
    moved.collect()
}

/// Generates `explain`. All of its tokens have the span of the type, so that a missing impl is
/// reported once.
fn explain(krate: &Path, span: TypeSpan) -> TokenStream {
    let error = Ident::new("error", span.first);
    let err = quote_spanned!(span.first=> Self::Err);
    let traits = hygienic!(use #krate::__private::explain::*;);
    quote_spanned! {span.first=>
        fn explain(#error: &#err) -> ::core::option::Option<::std::string::String> {
            #traits
            (&&&&Explain(#error)).explain()
        }
    }
}

fn noop(noop: &Noop) -> TokenStream {
    let value = match noop {
        Noop::Default(span) => {
            quote_spanned!(*span=> <Self::Ok as ::core::default::Default>::default())
        }
        Noop::Value(expr) => hygienic!(#expr),
    };
    hygienic! {
        fn noop() -> ::core::option::Option<Self::Ok> {
            let answer: Self::Ok = #value;
            ::core::option::Option::Some(answer)
        }
    }
}
