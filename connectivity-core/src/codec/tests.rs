use std::collections::HashMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize, Clone)]
enum Tree {
    Leaf(u8),
    Node(Box<Self>),
    Named { left: Vec<Self>, note: Option<String> },
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug + 'static>(value: &T) {
    for codec in [Codec::Bincode, Codec::Json] {
        let bytes = codec.encode(value).unwrap();
        assert_eq!(&codec.decode::<T>(&bytes).unwrap(), value, "{codec:?}");
    }
}

#[test]
fn both_codecs_carry_what_serde_has() {
    round_trip(&(1u8, -2i64, 3.5f64, 'é', true, "text".to_owned(), ()));
    round_trip(&Tree::Named {
        left: vec![Tree::Leaf(1), Tree::Node(Box::new(Tree::Leaf(2)))],
        note: Some("n".into()),
    });
    round_trip(&HashMap::from([("a".to_owned(), vec![1u32, 2]), ("b".to_owned(), vec![])]));
    round_trip(&(u128::MAX, i128::MIN, Some(Some(1u16)), [0u8; 40].to_vec()));
}

#[test]
fn bytes_after_the_value_are_refused() {
    for codec in [Codec::Bincode, Codec::Json] {
        let mut bytes = codec.encode(&7u64).unwrap().to_vec();
        bytes.extend_from_slice(b"7");
        bytes.push(b' ');
        assert!(codec.decode::<u64>(&bytes[..bytes.len() - 2]).is_ok());
        bytes.push(b'x');
        assert!(codec.decode::<u64>(&bytes).is_err(), "{codec:?}");
    }
}

/// 2^60 as bincode writes it.
const HUGE: [u8; 9] = [253, 0, 0, 0, 0, 0, 0, 0, 16];

#[test]
fn length_bombs_are_errors() {
    assert!(Codec::Bincode.decode::<String>(&HUGE).is_err());
    assert!(Codec::Bincode.decode::<Vec<u64>>(&HUGE).is_err());
    assert!(Codec::Bincode.decode::<HashMap<u64, u64>>(&HUGE).is_err());
}

#[test]
fn elements_without_bytes_are_counted() {
    let error = Codec::Bincode.decode::<Vec<()>>(&HUGE).unwrap_err();
    assert!(error.to_string().contains("elements"), "{error}");
    round_trip(&vec![(); 1000]);
}

#[test]
fn recursion_stops_before_the_stack_does() {
    let bomb = vec![1u8; 64 * 1024];
    let error = Codec::Bincode.decode::<Tree>(&bomb).unwrap_err();
    assert!(error.to_string().contains("nested too deeply"), "{error}");

    let json = "{\"Node\":".repeat(10_000);
    assert!(Codec::Json.decode::<Tree>(json.as_bytes()).is_err());

    let deep = (0..100).fold(Tree::Leaf(0), |tree, _| Tree::Node(Box::new(tree)));
    round_trip(&deep);
}

/// Decodes a body of 16 MiB in which each byte is one element of `T`.
fn zeros<T: DeserializeOwned + 'static>() -> Result<T, CodecError> {
    let mut body = vec![0; 16 << 20];
    body[..5].copy_from_slice(&[252, 0xfb, 0xff, 0xff, 0]);
    Codec::Bincode.decode(&body)
}

#[test]
fn an_option_of_itself_has_an_end() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Chain(Option<Box<Self>>);

    for (codec, hostile) in [(Codec::Bincode, vec![1; 1 << 20]), (Codec::Json, b"1".to_vec())] {
        let refused = codec.decode::<Chain>(&hostile).unwrap_err();
        assert!(refused.to_string().contains("nested too deeply"), "{codec:?}: {refused}");
    }
    let chain = (0..100).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))));
    let bytes = Codec::Bincode.encode(&chain).unwrap();
    assert_eq!(Codec::Bincode.decode::<Chain>(&bytes).unwrap(), chain);
}

#[test]
fn a_list_of_options_is_as_long_as_other_values_are_deep() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Node {
        number: u8,
        next: Option<Box<Self>>,
    }

    round_trip(&(0..100).fold(Node { number: 0, next: None }, |node, number| Node {
        number,
        next: Some(Box::new(node)),
    }));
}

#[test]
fn elements_are_bounded_by_the_memory_they_take() {
    let error = zeros::<Vec<String>>().unwrap_err();
    assert_eq!(error.to_string(), "more elements than a body of its length may hold");
    assert_eq!(zeros::<Vec<Option<u64>>>().unwrap().len(), (16 << 20) - 5);
    assert_eq!(zeros::<Vec<u128>>().unwrap().len(), (16 << 20) - 5);
    assert_eq!(zeros::<Vec<bool>>().unwrap().len(), (16 << 20) - 5);

    let json = format!("[{}{{}}]", "{},".repeat(100_000));
    let error = Codec::Json.decode::<Vec<Wide>>(json.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("more elements"), "{error}");
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Wide {
    one: [u128; 32],
    other: [u128; 32],
}

#[test]
fn sparse_values_are_read_as_long_as_they_are_not_many() {
    let read = |count| {
        Codec::Bincode.decode::<Vec<String>>(&Codec::Bincode.encode(&vec![""; count]).unwrap())
    };
    assert_eq!(read(8 << 20).unwrap().len(), 8 << 20);
    assert!(read(9 << 20).is_err());
    assert!(
        Codec::Bincode
            .encode(&vec![(); 4 << 20])
            .is_ok_and(|bytes| Codec::Bincode.decode::<Vec<()>>(&bytes).is_ok())
    );
    assert!(Codec::Bincode.encode(&vec![(); 5 << 20]).unwrap_err().is_unencodable(), "JSON can");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Secret {
    Text(String),
    Fields { number: u8, flag: bool, letter: char, date: Option<std::num::NonZeroU8> },
    Deep(Vec<HashMap<String, Self>>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    card: Kind,
    #[serde(default, rename = "at")]
    address: Option<std::net::IpAddr>,
    #[serde(default)]
    email: Option<Email>,
    #[serde(default)]
    secret: Option<Secret>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Debit,
    Credit,
    Gift,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Email(String);

impl TryFrom<String> for Email {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Err(format!("`{text}` is no address"))
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

#[test]
fn an_error_tells_kinds_places_and_types_and_quotes_nothing() {
    for (json, says) in [
        (
            r#"{"card":"4111"}"#,
            "`card`: unknown variant, expected one of `Debit`, `Credit`, `Gift` at line 1 column 14",
        ),
        (r#"{"card":4111}"#, "`card`: expected value at line 1"),
        (r#"{"card":{"4111":1}}"#, "`card`: unknown variant, expected one of `Debit`"),
        (
            r#"{"card":"Gift","4111":1}"#,
            "unknown field, expected one of `card`, `at`, `email`, `secret` at line 1 column 21",
        ),
        (r#"{"card":"Gift","at":"4111"}"#, "`at`: its type refuses the value at line 1 column 26"),
        (r#"{"card":"Gift","email":"4111"}"#, "`email`: its type refuses the value"),
        (
            r#"{"card":"Gift","secret":{"Text":4111}}"#,
            "`secret`: an integer, where a string is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Fields":{"number":4111}}}"#,
            "`secret.number`: an integer that does not fit, where u8 is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Fields":{"number":"4111, expected 4111"}}}"#,
            "`secret.number`: a string, where u8 is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Fields":{"number":-4111.5}}}"#,
            "a number with a fraction or beyond 64 bits, where u8 is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Fields":{"number":1,"letter":"4111"}}}"#,
            "`secret.letter`: a string that does not fit, where a character is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Fields":{"flag":["4111"]}}}"#,
            "`secret.flag`: a sequence, where a boolean is expected",
        ),
        (r#"{"card":"Gift","secret":{"Fields":{"number":1}}}"#, "`secret`: missing field `flag`"),
        (
            r#"{"card":"Gift","secret":{"Deep":[{"4111":{"Text":null}}]}}"#,
            "`secret[0]{}`: null, where a string is expected",
        ),
        (
            r#"{"card":"Gift","secret":{"Deep":{"4111":1}}}"#,
            "`secret`: a map, where a sequence is expected",
        ),
        (r#"{"card":"Gift" 4111"#, "expected `,` or `}`"),
        (r#"{"card":"Gift"} 4111"#, "trailing characters"),
        (r#"{"card":"Gift","card":"4111"}"#, "duplicate field `card`"),
        (r#""4111""#, "a string, where struct Strict is expected at line 1 column 6"),
    ] {
        let error = Codec::Json.decode::<Strict>(json.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(says), "{json}: {error}");
        assert!(!format!("{error} {error:?}").contains("4111"), "{json}: {error:?}");
    }
}

#[test]
fn a_bincode_error_is_told_in_words() {
    for (bytes, says) in [
        (&[0, 1, 9][..], "`at`: an integer that does not fit, where `V4` or `V6` is expected"),
        (
            &[9, 0, 0, 0],
            "`card`: an integer that does not fit, where variant index 0 <= i < 3 is expected",
        ),
        (&[0, 7, 0, 0], "`at`: an option that is neither 0 nor 1"),
        (&[0, 0, 1, 4, b'4', b'1', b'1', b'1', 0], "`email`: its type refuses the value"),
        (&[0, 0, 1, 200, b'4', b'1', b'1', b'1', 0], "`email`: the body ends early"),
        (&[0, 0, 0, 1, 0, 4, 0xff, b'1', b'1', b'1'], "`secret`: a string that is not UTF-8"),
        (&[0, 0, 0, 1, 1, 251, 0, 1], "`secret.date`: the body ends early"),
        (&[0, 0, 0, 1, 1, 41, 41], "`secret.flag`: a boolean that is neither 0 nor 1"),
        (&[0, 0, 0, 1, 1, 41, 1, 0xff], "`secret.letter`: a character that is not UTF-8"),
        (&[253, 1, 1, 1, 1, 1, 1, 1, 1], "`card`: an integer of another width"),
        (&[0, 0, 0, 0, 41, 11], "2 bytes follow the value"),
    ] {
        let error = Codec::Bincode.decode::<Strict>(bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{bytes:?}: {error}");
        assert!(
            !error.contains(['{', '(']) && !error.contains("4111") && !error.contains("41"),
            "{bytes:?}: {error}"
        );
    }
}

#[test]
fn a_number_that_f32_cannot_hold_is_refused() {
    assert_eq!(Codec::Json.decode::<f32>(b"3.4e38").unwrap(), 3.4e38);
    for json in ["1e39", "-1e39"] {
        let error = Codec::Json.decode::<Vec<f32>>(format!("[{json}]").as_bytes()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`[0]`: a number that does not fit, where f32 is expected at line 1"),
            "{error}"
        );
    }
}

#[test]
fn a_type_that_refuses_is_not_quoted_and_its_cause_is_kept_for_the_log() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no way for 4111"))
        }
    }
    for codec in [Codec::Bincode, Codec::Json] {
        let error = codec.encode(&vec![(1, Refuses)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("4111"), "{error:?}");
        assert_eq!(error.private_cause(), Some("no way for 4111"));
    }
}

/// Many small elements of many kinds.
fn sparse() -> impl Strategy<Value = (usize, u8)> {
    (0usize..40_000, any::<u8>())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(f64),
    Text(String),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn what_encodes_within_the_limits_decodes((count, seed) in sparse()) {
        let small = move |at: usize| (at as u8).wrapping_mul(seed);
        round_trip(&(0..count).map(|at| (at % 2 == 0, small(at))).collect::<Vec<_>>());
        round_trip(&(0..count).map(|at| vec![u64::from(small(at)); at % 3]).collect::<Vec<_>>());
        round_trip(&(0..count).map(|at| (at % 7 == 0).then(|| [u64::from(seed); 4])).collect::<Vec<_>>());
        round_trip(&(0..count).map(|at| (at, vec![(); usize::from(small(at) % 64)])).collect::<HashMap<_, _>>());
        round_trip(&(0..count / 9).map(|at| Tree::Named { left: vec![Tree::Leaf(small(at))], note: None }).collect::<Vec<_>>());
    }

    #[test]
    fn a_float_is_the_same_in_both(single in any::<f32>(), double in any::<f64>()) {
        prop_assume!(single.is_finite() && double.is_finite());
        round_trip(&(single, double, Some(double)));
        // An untagged enum buffers the value before its type is known.
        let bytes = Codec::Json.encode(&Untagged::Number(double)).unwrap();
        assert_eq!(Codec::Json.decode::<Untagged>(&bytes).unwrap(), Untagged::Number(double));
        assert_eq!(Codec::Json.decode::<serde_json::Value>(&bytes).unwrap(), serde_json::json!(double));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Codec::Bincode.decode::<Vec<(String, Tree, Option<f32>)>>(&bytes);
        let _ = Codec::Json.decode::<Vec<(String, Tree, Option<f32>)>>(&bytes);
    }
}
