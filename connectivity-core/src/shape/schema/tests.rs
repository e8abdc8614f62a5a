#![allow(dead_code, reason = "some types are walked, never made")]

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::*;
use crate::codec::Codec;

fn shape<T: DeserializeOwned>() -> Shape {
    Shape::of::<T>(Codec::Json)
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    jsonschema::draft202012::meta::validate(schema)
        .unwrap_or_else(|cause| panic!("no schema: {schema}: {cause}"));
    jsonschema::draft202012::new(schema).unwrap().is_valid(value)
}

/// Asserts that the JSON of each value satisfies both schemas and round-trips, and that each wrong
/// value satisfies neither the input schema nor the type.
fn check<T: Serialize + DeserializeOwned>(values: &[T], wrong: &[Value]) {
    let shape = shape::<T>();
    let (input, output) = (shape.json_schema(), shape.json_schema_of_output());
    for value in values {
        let value = serde_json::to_value(value).unwrap();
        assert!(is_valid(&input, &value), "{value} by {input}");
        assert!(is_valid(&output, &value), "{value} by {output}");
        let decoded: T = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(decoded).unwrap(), value);
        assert!(!shape.is_object() || value.is_object(), "{value}");
    }
    for value in wrong {
        assert!(!is_valid(&input, value), "{value} by {input}");
        assert!(serde_json::from_value::<T>(value.clone()).is_err(), "{value}");
    }
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    id: String,
    lines: Vec<Line>,
    total: Money,
    note: Option<String>,
    by_day: BTreeMap<i32, bool>,
    raw: [u8; 32],
    at: IpAddr,
    nothing: (),
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    article: (char, u16),
    cents: Option<Money>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Money(u64);

fn receipt() -> Receipt {
    let line = Line { article: ('ß', 17), cents: Some(Money(u64::MAX)) };
    let lines = vec![line.clone(), Line { cents: None, ..line }];
    let by_day = BTreeMap::from([(-1, true)]);
    let (id, at) = ("17".to_owned(), IpAddr::from([127, 0, 0, 1]));
    Receipt { id, lines, total: Money(3), note: None, by_day, raw: [255; 32], at, nothing: () }
}

#[test]
fn nested_structs_with_options_maps_tuples_and_arrays() {
    let good = serde_json::to_value(receipt()).unwrap();
    let with = |key: &str, value: Value| {
        let mut value_of = good.clone();
        value_of[key] = value;
        value_of
    };
    let mut without_id = good.clone();
    without_id.as_object_mut().unwrap().remove("id");
    let wrong = [
        without_id,
        with("id", json!(17)),
        with("total", json!(-1)),
        with("total", json!(0.5)),
        with("note", json!(["text"])),
        with("by_day", json!({ "1": "yes" })),
        with("raw", json!([1, 2])),
        with("raw", json!(vec![256; 32])),
        with("lines", json!([{ "article": ["a", 1, 2] }])),
        with("lines", json!([{ "article": ["ab", 1] }])),
        with("lines", json!([{ "article": ["a", 65536] }])),
        json!([]),
    ];
    check(&[receipt()], &wrong);
    let mut without_note = good;
    without_note.as_object_mut().unwrap().remove("note");
    assert!(
        is_valid(&shape::<Receipt>().json_schema(), &without_note),
        "an option may be left out"
    );
}

#[derive(Serialize, Deserialize)]
enum Plain {
    Low,
    #[serde(rename = "HIGH")]
    High,
}

#[derive(Serialize, Deserialize)]
enum External {
    Unit,
    New(Money),
    Tuple(u8, String),
    Struct { x: f64, plain: Plain },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    A(Vec<u8>),
    B(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { x: u8 },
    B,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[test]
fn enums_in_all_forms_of_serde() {
    check(
        &[Plain::Low, Plain::High],
        &[json!("High"), json!("low"), json!(1), json!({ "LOW": null })],
    );
    let external = [
        External::Unit,
        External::New(Money(1)),
        External::Tuple(1, "x".into()),
        External::Struct { x: 0.5, plain: Plain::High },
    ];
    let wrong = [
        json!("New"),
        json!({ "New": "1" }),
        json!({ "Tuple": [1] }),
        json!({ "Struct": { "x": 1.0 } }),
        json!({ "New": 1, "Unit": null }),
        json!({}),
    ];
    check(&external, &wrong);
    check(
        &[Adjacent::A(vec![1]), Adjacent::B("x".into())],
        &[json!({ "kind": "C", "value": "x" }), json!({ "kind": "A" }), json!("A")],
    );
    check(&[Internal::A { x: 1 }, Internal::B], &[json!("A"), json!(["A", 1, 2])]);
    check(&[Untagged::Number(1), Untagged::Text("x".into())], &[]);
    check::<Result<(), Plain>>(&[Ok(()), Err(Plain::Low)], &[json!("Ok"), json!({ "Err": "x" })]);
}

#[derive(Serialize, Deserialize)]
struct List {
    value: u8,
    next: Option<Box<Self>>,
}

#[derive(Serialize, Deserialize)]
struct Forest(Vec<Self>);

#[derive(Serialize, Deserialize)]
enum Term {
    Add(Box<Self>, Box<Self>),
    Neg(Box<Self>),
    Call { name: String, arguments: Vec<Self> },
    Number(f64),
}

#[test]
fn recursive_types_refer_to_themselves() {
    let list = List { value: 1, next: Some(Box::new(List { value: 2, next: None })) };
    check(
        &[list],
        &[json!({ "value": 1, "next": { "value": 256 } }), json!({ "value": 1, "next": [] })],
    );
    check(
        &[Forest(vec![Forest(vec![]), Forest(vec![Forest(vec![])])])],
        &[json!([[[1]]]), json!({})],
    );
    let number = || Box::new(Term::Number(1.5));
    let call = Term::Call { name: "f".into(), arguments: vec![Term::Neg(number())] };
    check(
        &[Term::Add(number(), Box::new(call))],
        &[json!({ "Add": [{ "Number": 1 }, { "Neg": "x" }] })],
    );
    let schema = shape::<Term>().json_schema().to_string();
    assert!(schema.len() < 2000, "{schema}");
}

#[derive(Serialize, Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(rename = "camelCase", alias = "snake_case")]
    renamed: bool,
    any: Value,
    #[serde(skip)]
    hidden: u8,
}

#[test]
fn attributes_of_fields() {
    check(&[Flat { a: 1, rest: BTreeMap::from([("b".into(), 2)]) }], &[json!([1])]);
    let full =
        Sparse { tags: vec!["x".into()], renamed: true, any: json!({ "a": [1] }), hidden: 7 };
    check(
        &[full],
        &[json!({ "tags": "x", "camelCase": true, "any": 1 }), json!({ "tags": [], "any": 1 })],
    );
    let sparse =
        serde_json::to_value(Sparse { tags: vec![], renamed: true, any: Value::Null, hidden: 7 })
            .unwrap();
    assert!(sparse.get("tags").is_none());
    assert!(
        is_valid(&shape::<Sparse>().json_schema_of_output(), &sparse),
        "what is left out is not required"
    );
}

#[derive(Serialize, Deserialize)]
struct Diamond {
    left: Line,
    right: Line,
    error: crate::Error,
}

macro_rules! towers {
    ($($name:ident $of:ident),+) => {$(
        #[derive(Serialize, Deserialize)]
        struct $name { a: Option<Box<$of>>, b: Vec<$of>, c: BTreeMap<String, Vec<$of>> }
    )+};
}

towers!(T1 Plain, T2 T1, T3 T2, T4 T3, T5 T4, T6 T5, T7 T6, T8 T7, T9 T8, T10 T9, T11 T10, T12 T11, T13 T12, T14 T13, T15 T14);
towers!(T16 T15, T17 T16, T18 T17, T19 T18, T20 T19, T21 T20, T22 T21, T23 T22, T24 T23);

#[test]
fn what_is_used_twice_is_written_once() {
    let line = Line { article: ('a', 1), cents: None };
    let error = crate::Error::new(crate::ErrorKind::Timeout, "billing", "too late");
    check(
        &[Diamond { left: line.clone(), right: line, error }],
        &[json!({ "left": {}, "right": {}, "error": {} })],
    );
    let schema = shape::<Diamond>().json_schema();
    assert_eq!(schema["properties"]["left"], schema["properties"]["right"]);
    assert!(schema["properties"]["left"]["$ref"].is_string(), "{schema}");
    let tower = shape::<T24>().json_schema().to_string();
    assert!(tower.len() < 24 * 1000, "{} bytes", tower.len());
    assert!(serde_json::from_str::<Value>(&tower).is_ok(), "parsers bear its depth");
}

#[test]
fn types_without_a_value_end() {
    #[derive(Deserialize)]
    struct Endless(Box<Self>);
    #[derive(Deserialize)]
    enum Never {}
    assert!(shape::<Endless>().json_schema().is_object());
    assert_eq!(shape::<Never>().json_schema(), json!({ "not": {} }));
}
