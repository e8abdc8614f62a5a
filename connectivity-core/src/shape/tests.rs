#![allow(dead_code, reason = "the types are walked, never made")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::*;

fn text<T: DeserializeOwned>() -> String {
    Shape::of::<T>(Codec::Bincode).text()
}

fn digest<T: DeserializeOwned>() -> u64 {
    Shape::of::<T>(Codec::Bincode).fingerprint()
}

fn unsupported<T: DeserializeOwned>() -> String {
    Shape::of::<T>(Codec::Bincode)
        .unsupported_by_bincode()
        .map(|found| found.to_string())
        .unwrap_or_default()
}

#[derive(Deserialize)]
struct Receipt {
    id: String,
    lines: Vec<(String, u32)>,
    note: Option<Money>,
    by_day: BTreeMap<i32, bool>,
    raw: [u8; 32],
    nothing: (),
}

#[derive(Deserialize)]
struct Money(u64);

#[derive(Deserialize)]
enum Inner {
    Unit,
    Tuple(u8, char),
    New(Money),
}

#[derive(Deserialize)]
enum Outer {
    First(Inner),
    Second { x: f32, y: Inner },
    Third(i128, String),
    Fourth(String, bool),
}

#[test]
fn a_struct_shows_its_fields_and_looks_through_newtypes() {
    let shape = "{id: string, lines: seq<(string, u32)>, note: option<u64>, by_day: map<i32, bool>, raw: [u8; 32], nothing: unit}";
    assert_eq!(text::<Receipt>(), shape);
    assert_eq!(format!("{:?}", Shape::of::<Money>(Codec::Bincode)), "u64");
}

#[test]
fn every_variant_is_visited() {
    let inner = "enum{Unit, Tuple(u8, char), New(u64)}";
    let outer = format!(
        "enum{{First({inner}), Second{{x: f32, y: {inner}}}, Third(i128, string), Fourth(string, bool)}}"
    );
    assert_eq!(text::<Outer>(), outer);
    assert_eq!(text::<Result<Inner, ()>>(), format!("enum{{Ok({inner}), Err}}"));
}

#[derive(Deserialize)]
struct List {
    value: u8,
    next: Option<Box<Self>>,
}

#[derive(Deserialize)]
struct Forest(Vec<Self>);

#[derive(Deserialize)]
enum Term {
    Add(Box<Self>, Box<Self>),
    Sub(Box<Self>, Box<Self>),
    Mul(Box<Self>, Box<Self>),
    Div(Box<Self>, Box<Self>),
    Call { callee: Box<Self>, arguments: Vec<Self> },
    Block(Box<Block>),
    Neg(Box<Self>),
    Number(f64),
}

#[derive(Deserialize)]
struct Block {
    label: Option<Box<Term>>,
    last: Term,
}

#[derive(Deserialize)]
struct Endless(Box<Self>);

#[test]
fn recursion_ends() {
    assert_eq!(text::<List>(), "{value: u8, next: option<recursive>}");
    assert_eq!(text::<Forest>(), "seq<recursive>");
    let term = text::<Term>();
    assert!(
        term.starts_with("enum{Add(recursive, recursive), Sub(recursive, recursive), "),
        "{term}"
    );
    assert!(term.contains("Call{callee: recursive, arguments: seq<recursive>}"), "{term}");
    assert!(term.contains("Block{label: option<recursive>, last: recursive}"), "{term}");
    assert!(term.ends_with("Neg(recursive), Number(f64)}"), "{term}");
    assert!(text::<Endless>().is_empty() || digest::<Endless>() != digest::<u8>());
}

#[test]
fn types_of_std_are_understood() {
    assert_eq!(text::<IpAddr>(), "enum{V4[u8; 4], V6[u8; 16]}");
    assert!(
        text::<SocketAddr>().starts_with("enum{V4([u8; 4], u16), V6("),
        "{}",
        text::<SocketAddr>()
    );
    assert_eq!(text::<Duration>(), "{secs: u64, nanos: u32}");
    assert_eq!(text::<SystemTime>(), "{secs_since_epoch: u64, nanos_since_epoch: u32}");
    assert_eq!(text::<PathBuf>(), "string");
    assert_eq!(text::<NonZeroU32>(), "u32");
    assert_eq!(text::<std::ops::Range<u8>>(), "{start: u8, end: u8}");
    assert_eq!(Shape::of::<IpAddr>(Codec::Json).text(), "string");
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct Rest {
    b: u8,
}

#[derive(Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A { x: u8 },
    B,
}

#[derive(Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    A(Vec<u8>),
    B(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum AdjacentStruct {
    Other(String),
    Struct { x: u8 },
}

#[derive(Deserialize)]
struct Holds<T> {
    before: Vec<Option<T>>,
    after: Inner,
}

#[test]
fn what_asks_the_data_is_found_and_named() {
    assert_eq!(unsupported::<Holds<Untagged>>(), "before[]: an enum with `#[serde(untagged)]`");
    assert_eq!(unsupported::<Holds<Flat>>(), "before[]: a struct with `#[serde(flatten)]`");
    assert_eq!(unsupported::<Holds<Tagged>>(), "before[]: an enum with `#[serde(tag = \"..\")]`");
    assert_eq!(unsupported::<Holds<serde_json::Value>>(), "before[]: a value of `serde_json`");
    assert_eq!(unsupported::<BTreeMap<u8, serde_json::Value>>(), "{}: a value of `serde_json`");
    assert!(unsupported::<AdjacentStruct>().starts_with("value: a type that asks the data"));
    let bytes = Codec::Bincode.encode(&AdjacentStruct::Struct { x: 1 }).unwrap();
    assert!(Codec::Bincode.decode::<AdjacentStruct>(&bytes).is_err(), "it is as the shape says");
    for fine in [
        unsupported::<Receipt>(),
        unsupported::<Term>(),
        unsupported::<Adjacent>(),
        unsupported::<BTreeMap<String, u8>>(),
    ] {
        assert_eq!(fine, "");
    }
    assert!(
        text::<Holds<Tagged>>().ends_with("after: enum{Unit, Tuple(u8, char), New(u64)}}"),
        "it hides nothing"
    );
}

#[test]
fn adjacently_tagged_contents_are_alternatives() {
    assert_eq!(text::<Adjacent>(), "{kind: enum{A, B}, value: seq<u8> | string}");
}

/// Accepts one string only, which is not among the samples.
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "no text is this one" {
            Ok(Self)
        } else {
            Err(de::Error::custom("not picky enough"))
        }
    }
}

#[derive(Deserialize)]
struct Checked {
    port: NonZeroU32,
    picky: Picky,
    mail: Mail,
    many: Vec<Picky>,
    inner: Inner,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Mail(String);

impl TryFrom<String> for Mail {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.contains('@') { Ok(Self(text)) } else { Err("no @") }
    }
}

#[test]
fn a_type_that_refuses_every_answer_hides_nothing_beside_it() {
    let inner = "enum{Unit, Tuple(u8, char), New(u64)}";
    let shape =
        format!("{{port: u32, picky: string, mail: string, many: seq<string>, inner: {inner}}}");
    assert_eq!(text::<Checked>(), shape);
    assert_eq!(text::<(Mail, Inner)>(), format!("(string, {inner})"));
    assert_eq!(text::<(Picky, Inner)>(), "(string, unknown)", "except in a tuple");
}

#[derive(Deserialize)]
struct Never;

struct Refuser;

impl<'de> Deserialize<'de> for Refuser {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("nothing at all"))
    }
}

#[test]
fn a_type_that_asks_for_nothing_is_unknown() {
    assert_eq!(text::<Refuser>(), "unknown");
    assert_eq!(text::<Never>(), "unit");
}

#[derive(Serialize, Deserialize)]
enum ShopError {
    Declined,
    Connectivity(crate::Error),
}

#[test]
fn our_error_is_one_leaf() {
    assert_eq!(text::<ShopError>(), "enum{Declined, Connectivity(error)}");
    assert_eq!(digest::<crate::Error>(), 0xc7f5_ff4f_3972_2a43, "whatever kinds there are");
}

macro_rules! order {
    ($module:ident { $($field:ident: $ty:ty),* } [$($variants:tt)*]) => {
        mod $module {
            use super::*;

            #[derive(Deserialize)]
            pub(super) struct Order { id: String, line: Line, state: State }

            #[derive(Deserialize)]
            pub(super) struct Line { $($field: $ty),* }

            #[derive(Deserialize)]
            pub(super) enum State { $($variants)* }
        }
    };
}

order!(base { sku: String, count: u32 } [Open, Paid(u64)]);
order!(same { sku: Box<str>, count: Count } [Open, Paid(Count64)]);
order!(nested_type { sku: String, count: u64 } [Open, Paid(u64)]);
order!(reordered { count: u32, sku: String } [Open, Paid(u64)]);
order!(renamed { sku: String, number: u32 } [Open, Paid(u64)]);
order!(new_variant { sku: String, count: u32 } [Open, Paid(u64), Lost]);
order!(changed_variant { sku: String, count: u32 } [Open, Paid(u32)]);

type Count = u32;

#[derive(Deserialize)]
pub(super) struct Count64(u64);

#[test]
fn a_fingerprint_changes_with_the_wire_and_with_nothing_else() {
    let base = digest::<base::Order>();
    assert_eq!(digest::<same::Order>(), base);
    let changed = [
        digest::<nested_type::Order>(),
        digest::<reordered::Order>(),
        digest::<renamed::Order>(),
        digest::<new_variant::Order>(),
        digest::<changed_variant::Order>(),
    ];
    for (at, print) in changed.iter().enumerate() {
        assert!(*print != base && !changed[..at].contains(print), "{at}");
    }
    assert_eq!(digest::<Vec<base::Line>>(), digest::<VecDeque<Box<base::Line>>>());
    assert_eq!(
        base, 0x7850_8d10_7d16_36f6,
        "the form is the same in every build; change `FORM` if it must change"
    );
}

#[derive(Deserialize)]
struct WithAliases {
    #[serde(alias = "a_old", alias = "z_old")]
    name: String,
    #[serde(alias = "number")]
    count: Inner,
}

#[derive(Deserialize)]
struct WithoutAliases {
    name: String,
    count: Inner,
}

#[test]
fn an_alias_of_a_field_is_not_a_field() {
    assert_eq!(
        text::<WithAliases>(),
        "{name: string, count: enum{Unit, Tuple(u8, char), New(u64)}}"
    );
    assert_eq!(digest::<WithAliases>(), digest::<WithoutAliases>());
}

#[derive(Deserialize)]
struct Unrolled {
    value: u8,
    next: Option<List>,
}

#[derive(Deserialize)]
struct LongList {
    value: u16,
    next: Option<Box<Self>>,
}

#[test]
fn recursive_types_are_compared_as_the_wire_sees_them() {
    assert_eq!(digest::<List>(), digest::<Unrolled>());
    assert_ne!(digest::<List>(), digest::<LongList>());
}

/// Structs whose unfolded size doubles with each level; the work of a walk must not.
macro_rules! doubling {
    ($name:ident of $inner:ty; $($rest:tt)*) => {
        #[derive(Deserialize)]
        struct $name { left: Vec<$inner>, right: Vec<$inner>, state: Inner }
        doubling!($($rest)*);
    };
    () => {};
}

doubling!(D1 of u8; D2 of D1; D3 of D2; D4 of D3; D5 of D4; D6 of D5; D7 of D6; D8 of D7; D9 of D8; D10 of D9;
    D11 of D10; D12 of D11; D13 of D12; D14 of D13; D15 of D14; D16 of D15; D17 of D16; D18 of D17; D19 of D18;
    D20 of D19; D21 of D20; D22 of D21; D23 of D22; D24 of D23; D25 of D24; D26 of D25; D27 of D26; D28 of D27;);

#[test]
fn texts_and_walks_are_bounded() {
    let text = text::<D28>();
    assert!(text.len() <= MAX_TEXT && text.ends_with('…'), "{text}");
    assert_ne!(digest::<D28>(), digest::<D27>());
    assert_eq!(unsupported::<D28>(), "");
}
