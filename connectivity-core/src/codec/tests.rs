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

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    for codec in [Codec::Bincode, Codec::Json] {
        let bytes = codec.encode(value).unwrap();
        assert_eq!(&codec.decode::<T>(&bytes).unwrap(), value, "{codec:?}");
    }
}

#[test]
fn both_codecs_carry_what_serde_has() {
    round_trip(&(1u8, -2i64, 3.5f64, 'é', true, "text".to_owned(), ()));
    round_trip(&Tree::Named { left: vec![Tree::Leaf(1), Tree::Node(Box::new(Tree::Leaf(2)))], note: Some("n".into()) });
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

#[test]
fn a_json_error_does_not_quote_the_value() {
    let error = Codec::Json.decode::<u64>(b"\"secret-4711\"").unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(error.to_string().contains("u64"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Codec::Bincode.decode::<Vec<(String, Tree, Option<f32>)>>(&bytes);
        let _ = Codec::Json.decode::<Vec<(String, Tree, Option<f32>)>>(&bytes);
    }
}
