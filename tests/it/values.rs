//! Values over the wire: they arrive unchanged, or the call fails and says why.
#![allow(
    dead_code,
    unnameable_types,
    reason = "a contract of its own that nobody else uses, with a variant that nobody makes"
)]

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connectivity_core::{Error, ErrorKind, MemoryRoutes, Sent, register, service};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use tests::shop::router;
use tests::wires::Wires;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub taken: bool,
    pub row: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount: Option<u8>,
    pub quantity: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tags {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<u8>,
    pub quantity: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteOnly {
    #[serde(default, skip_serializing)]
    pub password: u8,
    pub user: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadOnly {
    #[serde(skip_deserializing)]
    pub made: u8,
    pub user: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Skips {
    #[serde(skip)]
    Never(std::fmt::Error),
    First,
    Second(u8),
    Third {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u8>,
        count: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flat {
    pub id: u8,
    #[serde(flatten)]
    pub seat: Seat,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Internal {
    One { a: u8 },
    Two { b: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of")]
pub enum Adjacent {
    One { a: u8 },
    Two(u8, u8),
    Three,
}

/// Serialized as text, deserialized as a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AsText {
    #[serde(serialize_with = "as_text")]
    pub number: u64,
    pub after: u8,
}

fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// Fails to serialize, with an error that quotes its value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Unwritten(pub u32);

impl Serialize for Unwritten {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(format_args!("{} is refused", self.0)))
    }
}

/// Fails to deserialize, with an error that quotes its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Unread(pub u32);

impl TryFrom<u32> for Unread {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number > 4000 { Err(format!("{number} is refused")) } else { Ok(Self(number)) }
    }
}

/// Always serialized as text, but deserialized as text only in human-readable formats.
#[derive(Clone, Debug, PartialEq)]
pub struct Readable(pub u32);

impl Serialize for Readable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map(Self).map_err(serde::de::Error::custom);
        }
        u32::deserialize(deserializer).map(Self)
    }
}

/// Announces one more element than it serializes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Liar {
    pub list: Vec<u8>,
    pub after: u8,
}

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        struct Odd<'a>(&'a [u8]);
        impl Serialize for Odd<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeSeq;
                let mut seq = serializer.serialize_seq(Some(self.0.len() + 1))?;
                self.0.iter().try_for_each(|number| seq.serialize_element(number))?;
                seq.end()
            }
        }
        let mut out = serializer.serialize_struct("Liar", 2)?;
        out.serialize_field("list", &Odd(&self.list))?;
        out.serialize_field("after", &self.after)?;
        out.end()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renamed {
    #[serde(rename(serialize = "out", deserialize = "in"))]
    pub id: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Email(pub String);

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl TryFrom<String> for Email {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') { Ok(Self(text)) } else { Err(format!("{text} is no address")) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Other {
    Known,
    #[serde(other)]
    Unknown,
}

/// Records the argument that the implementation received, in its `Debug` form.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<String>>);

impl Recorder {
    fn back<T: Debug>(&self, value: T) -> Result<T, Error> {
        *self.0.lock().unwrap() = format!("{value:?}");
        Ok(value)
    }

    fn last(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Which encodings can carry a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encodings {
    /// Both codecs.
    Both,
    /// A row without `codec`, but not JSON.
    NotJson,
    /// Neither codec.
    Neither,
}

const STRATEGIES: [&str; 3] = ["unix", "http", "quic"];

struct TestServer {
    wires: Wires,
    recorder: Recorder,
    strategy: &'static str,
}

impl TestServer {
    async fn new(strategy: &'static str) -> Self {
        let (router, recorder) = (router(&MemoryRoutes::new()), Recorder::default());
        register!(router, Values => recorder.clone()).unwrap();
        Self { wires: Wires::serve(&router, "values").await, recorder, strategy }
    }

    fn client(&self, codec: Option<&str>) -> ValuesClient {
        ValuesClient::new(&self.wires.router(self.strategy, codec))
    }
}

/// Asserts that the implementation received `value` and the caller got it back, or that the call
/// failed with a typed error.
fn check<T>(
    server: &TestServer,
    label: &str,
    value: &T,
    encodings: Encodings,
    json: bool,
    result: Result<T, Error>,
) where
    T: Debug + Serialize + DeserializeOwned,
{
    let label = format!("{label}, {}, json {json}: {value:?}", server.strategy);
    let received = server.recorder.last();
    let may_fail = encodings == Encodings::Neither || json && encodings == Encodings::NotJson;
    match result {
        Ok(back) => {
            assert!(!may_fail, "{label} came as {back:?}");
            assert_eq!(
                (received, format!("{back:?}")),
                (format!("{value:?}"), format!("{value:?}")),
                "{label}"
            );
        }
        Err(error) => {
            assert!(may_fail, "{label}: {error}");
            let typed = [ErrorKind::Encode, ErrorKind::Decode, ErrorKind::Internal];
            assert!(typed.contains(&error.kind()), "{label}: {error}");
            assert!(!error.message().contains("4111"), "{label}: {error}");
        }
    }
}

macro_rules! table {
    ($($name:ident: $type:ty, $encodings:ident, [$($value:expr),+];)+) => {
        #[service]
        pub trait Values {
            $(async fn $name(&self, value: $type, after: u8) -> Result<$type, Error>;)+
            async fn seats(&self, count: u32) -> Result<Vec<Seat>, Error>;
            async fn pairs(&self, count: u32) -> Result<Vec<(u8, u8)>, Error>;
            async fn lists(&self, count: u32) -> Result<Vec<Vec<u64>>, Error>;
            async fn power_of_two(&self, exponent: u32) -> Result<u128, Error>;
        }

        impl Values for Recorder {
            $(async fn $name(&self, value: $type, after: u8) -> Result<$type, Error> {
                assert_eq!(after, 77);
                self.back(value)
            })+

            async fn seats(&self, count: u32) -> Result<Vec<Seat>, Error> {
                Ok((0..count).map(|at| Seat { taken: at % 2 == 0, row: (at % 251) as u8 }).collect())
            }

            async fn pairs(&self, count: u32) -> Result<Vec<(u8, u8)>, Error> {
                Ok((0..count).map(|at| ((at % 3) as u8, (at % 251) as u8)).collect())
            }

            async fn lists(&self, count: u32) -> Result<Vec<Vec<u64>>, Error> {
                Ok((0..count).map(|at| vec![u64::from(at); at as usize % 3]).collect())
            }

            async fn power_of_two(&self, exponent: u32) -> Result<u128, Error> {
                Ok(1 << exponent)
            }
        }

        /// Each value arrives unchanged, or its call fails with an error that says why and does not
        /// quote the value.
        #[tokio::test]
        async fn a_value_arrives_equal_or_its_call_fails() {
            for strategy in STRATEGIES {
                let server = TestServer::new(strategy).await;
                for json in [false, true] {
                    let client = server.client(json.then_some("json"));
                    $($({
                        let value: $type = $value;
                        let result = client.$name(value.clone(), 77).await;
                        check(&server, stringify!($name), &value, Encodings::$encodings, json, result);
                    })+)+
                }
            }
        }
    };
}

table! {
    item: Vec<Item>, Both, [
        vec![Item { discount: None, quantity: 0 }, Item { discount: Some(0), quantity: 9 }],
        vec![Item { discount: Some(1), quantity: 1 }]
    ];
    one_item: Item, Both, [Item { discount: None, quantity: 9 }, Item { discount: Some(3), quantity: 9 }];
    tags: (Tags, Tags), Both, [(Tags { tags: vec![], quantity: 1 }, Tags { tags: vec![1, 2], quantity: 3 })];
    // Fields that serde skips are lost in JSON, as their author requested. No other field moves.
    write_only: (WriteOnly, u8), Both, [(WriteOnly { password: 0, user: 2 }, 3)];
    read_only: (ReadOnly, u8), Both, [(ReadOnly { made: 0, user: 2 }, 3)];
    skips: Vec<Skips>, Both, [
        vec![Skips::First, Skips::Second(4)],
        vec![Skips::Third { note: None, count: 3 }, Skips::Third { note: Some(1), count: 3 }]
    ];
    flat: Flat, Both, [Flat { id: 1, seat: Seat { taken: true, row: 2 } }];
    untagged: Vec<Untagged>, Both, [vec![Untagged::Number(1), Untagged::Text("a".into())]];
    internal: Vec<Internal>, Both, [vec![Internal::One { a: 1 }, Internal::Two { b: 2 }]];
    adjacent: Vec<Adjacent>, Both, [vec![Adjacent::One { a: 1 }, Adjacent::Two(1, 2), Adjacent::Three]];
    as_text: AsText, Neither, [AsText { number: 4111, after: 3 }];
    unwritten: Unwritten, Neither, [Unwritten(4111)];
    unread: Unread, Neither, [Unread(4111)];
    readable: Readable, Both, [Readable(4111)];
    liar: Liar, Both, [Liar { list: vec![2, 4, 3], after: 77 }];
    renamed: Renamed, NotJson, [Renamed { id: 7 }];
    email: Email, Both, [Email("a@a.aa".into())];
    other: Vec<Other>, Both, [vec![Other::Known, Other::Unknown]];
    address: Vec<IpAddr>, Both, [vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]];
    duration: Duration, Both, [Duration::new(3, 7)];
    nested: Option<Option<u8>>, Both, [Some(Some(1)), None];
    some_none: Option<Option<u8>>, NotJson, [Some(None)];
    some_unit: Option<()>, NotJson, [Some(())];
    single: Vec<f32>, Both, [vec![0.1, f32::MAX, f32::MIN_POSITIVE, -0.0]];
    infinite: Vec<f32>, NotJson, [vec![f32::INFINITY], vec![f32::NAN]];
    infinite_some: Option<f64>, NotJson, [Some(f64::NAN), Some(f64::NEG_INFINITY)];
    double: Vec<f64>, Both, [vec![0.1, f64::MAX, f64::MIN_POSITIVE, 1e22, 123_456_789.012_345_67]];
    wide: Vec<i128>, Both, [vec![i128::MIN, -1, i128::MAX]];
    keys: HashMap<u16, char>, Both, [HashMap::from([(1, 'a')])];
    odd_keys: HashMap<(u8, u8), u8>, NotJson, [HashMap::from([((1, 2), 3)])];
    json: Vec<serde_json::Value>, Both, [vec![serde_json::json!({"a": [1, null, "x"]})]];
}

/// Enough elements and fields to exceed the bytes of a body plus 65,536.
const COUNT: u32 = 70_000;

#[tokio::test]
async fn many_small_elements_arrive() {
    for strategy in STRATEGIES {
        let server = TestServer::new(strategy).await;
        for codec in [None, Some("json")] {
            let (remote, local) = (server.client(codec), ValuesClient::direct(Recorder::default()));
            let label = format!("{COUNT} over {strategy}, {codec:?}");
            // `assert_eq!` would print all of them.
            assert!(
                remote.seats(COUNT).await.unwrap() == local.seats(COUNT).await.unwrap(),
                "{label}"
            );
            assert!(
                remote.pairs(COUNT).await.unwrap() == local.pairs(COUNT).await.unwrap(),
                "{label}"
            );
            assert!(
                remote.lists(COUNT).await.unwrap() == local.lists(COUNT).await.unwrap(),
                "{label}"
            );
        }
    }
}

#[tokio::test]
async fn mcp_refuses_integers_that_its_json_would_round() {
    let server = TestServer::new("mcp").await;
    let client = server.client(None);
    assert_eq!(
        client.wide(vec![i128::from(u64::MAX), i128::from(i64::MIN)], 77).await.unwrap().len(),
        2
    );
    assert_eq!(client.power_of_two(63).await, Ok(1 << 63));
    let error = client.wide(vec![i128::MAX], 77).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Encode, Sent::No), "{error}");
    assert!(error.message().contains("more than 64 bits"), "{error}");
    let error = client.power_of_two(64).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Encode, Sent::Yes), "{error}");
    assert!(error.message().contains("more than 64 bits"), "{error}");
}
