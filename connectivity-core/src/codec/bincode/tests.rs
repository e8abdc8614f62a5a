use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::Codec;

/// A type with every kind of value in serde's data model.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unsigned: (u8, u16, u32, u64, u128, usize),
    signed: (i8, i16, i32, i64, i128, isize),
    floats: [Bits; 2],
    text: (char, String, bool),
    variants: Vec<Variant>,
    map: BTreeMap<u16, Option<Option<i32>>>,
    nothing: ((), Unit),
}

/// Floats that are compared bit by bit, so that NaN equals itself.
#[derive(Debug, Serialize, Deserialize)]
struct Bits(f32, f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        (self.0.to_bits(), self.1.to_bits()) == (other.0.to_bits(), other.1.to_bits())
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Variant {
    Unit,
    New(Box<Everything>),
    Tuple(u64, char),
    Struct { left: String, right: Option<u8> },
}

/// Numbers of all widths alike: unshifted random numbers would nearly all be wide.
fn any_width() -> impl Strategy<Value = u128> {
    (any::<u128>(), 0..128u32).prop_map(|(number, shift)| number >> shift)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "numbers of every width are cut out of a wide one"
)]
fn everything() -> impl Strategy<Value = Everything> {
    let map = proptest::collection::btree_map(any::<u16>(), any::<Option<Option<i32>>>(), 0..4);
    let parts = (any_width(), any::<(f32, f64, char, bool)>(), any::<(String, Option<u8>)>(), map);
    let leaf =
        parts.prop_map(|(number, (single, double, letter, flag), (text, right), map)| Everything {
            unsigned: (
                number as u8,
                number as u16,
                number as u32,
                number as u64,
                number,
                number as usize,
            ),
            signed: (
                number as i8,
                number as i16,
                number as i32,
                number as i64,
                number as i128,
                number as isize,
            ),
            floats: [Bits(single, double), Bits(-single, f64::NAN)],
            text: (letter, text.clone(), flag),
            variants: vec![
                Variant::Unit,
                Variant::Struct { left: text, right },
                Variant::Tuple(number as u64, letter),
            ],
            map,
            nothing: ((), Unit),
        });
    leaf.prop_recursive(3, 8, 1, |inner| {
        (inner.clone(), inner).prop_map(|(mut outer, inner)| {
            outer.variants.push(Variant::New(Box::new(inner)));
            outer
        })
    })
}

fn decode_by_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let config = CONFIG.with_limit::<{ 1 << 20 }>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (read == bytes.len()).then_some(value)
}

fn decode_by_us<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode(bytes, Limits::of(bytes.len())).ok()
}

/// Asserts that both decoders agree on `bytes`, type by type: random bytes rarely decode as a large
/// type.
fn assert_decoders_agree(bytes: &[u8]) {
    macro_rules! alike {
        ($($ty:ty),+) => {$( assert_eq!(decode_by_us::<$ty>(bytes), decode_by_bincode::<$ty>(bytes), "{} {bytes:?}", stringify!($ty)); )+};
    }
    alike!(
        u8,
        u16,
        u32,
        u64,
        u128,
        usize,
        i8,
        i16,
        i32,
        i64,
        i128,
        isize,
        bool,
        char,
        String,
        Option<u16>
    );
    alike!((), Unit, Variant, Vec<u16>, Vec<bool>, BTreeMap<u8, char>, (u8, i64), [u32; 2], std::net::IpAddr);
    alike!(Everything);
}

proptest! {
    #[test]
    fn what_bincode_writes_is_read_as_bincode_reads_it(
        value in everything(),
        at in any::<prop::sample::Index>(),
        other in any::<u8>(),
    ) {
        let mut bytes = encode(&value).unwrap().to_vec();
        prop_assert_eq!(decode_by_us::<Everything>(&bytes), Some(value));

        let at = at.index(bytes.len());
        prop_assert_eq!(decode_by_us::<Everything>(&bytes[..at]), None);
        bytes[at] = other;
        let expected = decode_by_bincode::<Everything>(&bytes);
        prop_assert_eq!(decode_by_us::<Everything>(&bytes), expected);
    }

    #[test]
    fn any_bytes_are_read_as_bincode_reads_them(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        assert_decoders_agree(&bytes);
    }

    #[test]
    fn a_number_is_read_as_bincode_reads_it(mark in 245u8.., number in any_width(), length in 0usize..18) {
        assert_decoders_agree(&[&[mark][..], &number.to_le_bytes()].concat()[..length.min(17)]);
    }
}

/// Bytes are on the wire what bincode writes of them one by one, wherever they are in a value.
#[test]
fn bytes_have_the_form_of_a_sequence_of_numbers() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inside {
        before: u8,
        bytes: Vec<u8>,
        queue: Option<VecDeque<u8>>,
        array: [u8; 3],
        wide: Vec<u16>,
    }
    for length in [0, 1, 15, 16, 17, 250, 251, 70_000_u32] {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 256) as u8).collect();
        let written = encode(&bytes).unwrap();
        assert_eq!(written, bincode::serde::encode_to_vec(&bytes, CONFIG).unwrap(), "{length}");
        assert_eq!(encode(&bytes[..]).unwrap(), written, "{length}");
        assert_eq!(Codec::Bincode.decode::<Vec<u8>>(&written), Ok(bytes.clone()), "{length}");
        let inside = Inside {
            before: 1,
            queue: Some(bytes.iter().copied().collect()),
            wide: bytes.iter().copied().map(u16::from).collect(),
            bytes,
            array: [1, 2, 3],
        };
        let written = encode(&inside).unwrap();
        assert_eq!(written, bincode::serde::encode_to_vec(&inside, CONFIG).unwrap(), "{length}");
        assert_eq!(Codec::Bincode.decode(&written), Ok(inside), "{length}");
    }
}

#[test]
fn bytes_that_end_early_or_late_are_faults() {
    let written = encode(&vec![7_u8; 300]).unwrap();
    let decode = |bytes: &[u8]| Codec::Bincode.decode::<Vec<u8>>(bytes).unwrap_err().to_string();
    assert_eq!(decode(&written[..200]), "the body ends early");
    assert_eq!(decode(&[&written[..], &[1]].concat()), "1 bytes follow the value");
    assert_eq!(decode(&[253, 255, 255, 255, 255, 255, 255, 255, 255]), "the body ends early");
}

#[test]
fn a_text_is_no_sequence_of_bytes() {
    assert_eq!(Codec::Json.decode::<Vec<u8>>(b"[1,2]"), Ok(vec![1, 2]));
    assert!(Codec::Json.decode::<Vec<u8>>(br#""ab""#).is_err());
}

/// Counts the writes of an encoder.
struct Writes(usize);

impl Writer for &mut Writes {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 += 1;
        Ok(())
    }
}

/// Tells how a decoder gives what it is asked for.
struct Probe;

impl<'de> serde::de::Visitor<'de> for Probe {
    type Value = &'static str;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_bytes<E>(self, _bytes: &[u8]) -> Result<&'static str, E> {
        Ok("one piece")
    }

    fn visit_newtype_struct<D>(self, _inner: D) -> Result<&'static str, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        Ok("elements")
    }
}

#[test]
fn bytes_are_one_piece_at_both_ends() {
    let bytes = vec![7_u8; 1000];
    let (check, mut writes) = (Check::default(), Writes(0));
    bincode::serde::encode_into_writer(check.value(&bytes), &mut writes, CONFIG).unwrap();
    assert!(writes.0 < 10, "{} writes", writes.0);
    let written = encode(&bytes).unwrap();
    let read = |name| {
        let mut decoder = Decoder::new(&written, Limits::of(written.len()));
        serde::Deserializer::deserialize_newtype_struct(&mut decoder, name, Probe).ok()
    };
    assert_eq!(read(crate::codec::byte_string::WHOLE), Some("one piece"));
    assert_eq!(read("Other"), Some("elements"));
}
