use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::content::Kind;
use super::*;
use crate::codec::Codec;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;

fn decode_all(mut bytes: BytesMut) -> Result<Vec<Frame>, WireError> {
    let decoder = Decoder::new(MAX_SMALL_FRAME);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut bytes)? {
        frames.push(frame);
    }
    assert!(bytes.is_empty(), "{} bytes left", bytes.len());
    Ok(frames)
}

fn encoded(write: impl FnOnce(&mut Encoder)) -> BytesMut {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    encoder.buffer().split()
}

fn request(encoder: &mut Encoder, context: &Context, body: &[u8]) {
    let declaration = Some(("billing.charge", 0x0123_4567_89ab_cdef));
    let head = RequestHead {
        call: 7,
        method: 3,
        declaration,
        codec: Some(Codec::Bincode),
        context,
        now: Instant::now(),
    };
    encoder.request(&head, body);
}

#[test]
fn golden_bytes_of_a_request() {
    let bytes = encoded(|encoder| request(encoder, &Context::new(), b"hi"));
    let expected: &[&[u8]] = &[
        &[38, 0, 0, 0],            // length of what follows the head
        &[1, 0, 0, 0],             // request, no flags, reserved
        &[7, 0, 0, 0, 0, 0, 0, 0], // call
        &[3, 0, 0, 0],             // method number
        &[1],                      // bincode
        &[0, 0, 0, 0],             // no deadline
        &[25, 0],                  // length of the sections
        &[1, 22, 0],               // a name of 22 bytes, fingerprint first
        &[0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01],
        b"billing.charge",
        b"hi",
    ];
    assert_eq!(&bytes[..], expected.concat());
}

#[test]
fn golden_bytes_of_answers() {
    let bytes = encoded(|encoder| encoder.reply(7, Some(Codec::Json), true, b"x"));
    assert_eq!(&bytes[..], [2, 0, 0, 0, 2, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, b'x']);
    let error = Error::new(ErrorKind::Overloaded, "billing", "full").with_sent(Sent::No);
    let bytes = encoded(|encoder| encoder.failure(7, &error));
    let expected: &[&[u8]] =
        &[&[16, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 10], b"overloaded", b"full"];
    assert_eq!(&bytes[..], expected.concat());
    assert_eq!(
        &encoded(|encoder| encoder.cancel(7))[..],
        [0, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(write_preamble(Role::Single), *b"CNW\x01\x01\0\0\0");
}

/// Returns the frames in the example at the head of `mux/mod.rs`.
fn example() -> Vec<u8> {
    let lines = include_str!("../mod.rs").lines().filter_map(|line| line.strip_prefix("//!     "));
    let words = lines.flat_map(|line| {
        line.split(' ')
            .map_while(|word| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2))
    });
    words.collect()
}

#[test]
fn the_example_of_a_call_and_its_reply_is_true() {
    let (mut names, name) = (ClientNames::default(), Name::from_static("billing.charge"));
    let (method, is_new) = names.number(&name).unwrap();
    let context = Context::new();
    let head = RequestHead {
        call: 1,
        method,
        declaration: is_new.then_some((name.as_str(), 0x0123_4567_89ab_cdef)),
        codec: Some(Codec::Bincode),
        context: &context,
        now: Instant::now(),
    };
    let frames = encoded(|encoder| {
        encoder.ping(0);
        encoder.pong(0);
        encoder.request(&head, &Codec::Bincode.encode(&(42_u64,)).unwrap());
        encoder.reply(1, Some(Codec::Bincode), false, &Codec::Bincode.encode(&7_u64).unwrap());
    });
    assert_eq!(example(), [&write_preamble(Role::Shared)[..], &frames[..]].concat());
}

#[test]
fn what_travels_with_a_call_comes_back() {
    let context =
        Context::new().with_meta("tenant", "Käse").unwrap().with_trace_parent("00-ab-cd-01");
    let frames = decode_all(encoded(|encoder| request(encoder, &context, b"body"))).unwrap();
    let [Frame::Request(request)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(request.meta, [("tenant".to_owned(), "Käse".to_owned())]);
    assert_eq!(request.trace_parent.as_deref(), Some("00-ab-cd-01"));
    assert_eq!((request.call, request.method, &request.body[..]), (7, 3, &b"body"[..]));
    assert_eq!(request.declaration.as_ref().unwrap().name, "billing.charge");
}

#[test]
fn an_answer_in_parts_says_where_it_ends() {
    let frames = decode_all(encoded(|encoder| {
        encoder.begin_reply(9, None, false, true, b"one");
        encoder.part(9, true, b"two");
        encoder.part(9, false, b"three");
    }));
    let reply = Reply {
        call: 9,
        codec: None,
        app_error: false,
        more: true,
        body: Bytes::from_static(b"one"),
    };
    let part = |more, body| Frame::Part { call: 9, more, body: Bytes::from_static(body) };
    assert_eq!(frames.unwrap(), [Frame::Reply(reply), part(true, b"two"), part(false, b"three")]);
}

#[test]
fn kinds_of_later_versions_are_skipped_and_streams_are_refused() {
    let mut bytes = encoded(|encoder| encoder.cancel(1));
    bytes[4] = 200;
    assert_eq!(decode_all(bytes).unwrap(), [Frame::Unknown]);
    for kind in [Kind::Item, Kind::End, Kind::Credit] {
        let mut bytes = encoded(|encoder| encoder.cancel(1));
        bytes[4] = kind as u8;
        assert_eq!(decode_all(bytes).unwrap(), [Frame::Unsupported { call: 1 }]);
    }
}

#[test]
fn hostile_frames_are_errors_with_a_reason() {
    let edit = |at: usize, value: u8| {
        let mut bytes = encoded(|encoder| request(encoder, &Context::new(), b"hi"));
        bytes[at] = value;
        decode_all(bytes)
    };
    assert_eq!(edit(20, 9), Err(WireError::Codec));
    assert_eq!(edit(25, 255), Err(WireError::Truncated));
    assert_eq!(edit(28, 255), Err(WireError::Truncated));
    assert_eq!(edit(40, 0xff), Err(WireError::Text));
    let long = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    assert!(matches!(decode_all(long), Err(WireError::TooLong { .. })));
    for garbage in [*b"GET / HT", *b"CNW\x02\0\0\0\0", *b"CNW\x01\x07\0\0\0"] {
        assert_eq!(read_preamble(garbage), Err(WireError::Preamble));
    }
}

#[test]
fn numbers_stand_for_names_and_run_out() {
    let mut client = ClientNames::default();
    let name = |text: &str| Name::parse(text).unwrap();
    assert_eq!(client.number(&name("a")), Some((0, true)));
    assert_eq!(client.number(&name("a")), Some((0, false)));
    for n in 1..4096 {
        assert!(client.number(&name(&format!("m{n}"))).is_some());
    }
    assert_eq!(client.number(&name("one-too-many")), None);

    let mut server = ServerNames::default();
    let undeclared = Request {
        call: 1,
        method: 0,
        declaration: None,
        codec: None,
        timeout_ms: 0,
        trace_parent: None,
        meta: Vec::new(),
        body: Bytes::new(),
    };
    assert_eq!(server.resolve(&undeclared, |_| 1).copied(), Err(WireError::UnknownMethod));
    for method in 0..4097 {
        let declaration = Some(Declaration { name: "m".into(), fingerprint: 0 });
        let known = server.resolve(&Request { method, declaration, ..undeclared.clone() }, |_| 1);
        assert_eq!(known.is_ok(), method < 4096);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_every_prefix_waits(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = BytesMut::from(&bytes[..]);
        let decoder = Decoder::new(512);
        while let Ok(Some(_)) = decoder.decode(&mut bytes) {}
    }

    #[test]
    fn a_frame_is_read_whole_or_not_at_all(cut in 0usize..60, body in proptest::collection::vec(any::<u8>(), 0..20)) {
        let whole = encoded(|encoder| request(encoder, &Context::new(), &body));
        let cut = cut.min(whole.len());
        let mut buffer = BytesMut::from(&whole[..cut]);
        let decoder = Decoder::new(MAX_SMALL_FRAME);
        let early = decoder.decode(&mut buffer).unwrap();
        prop_assert_eq!(early.is_some(), cut == whole.len());
        buffer.extend_from_slice(&whole[cut..]);
        if early.is_none() {
            prop_assert!(matches!(decoder.decode(&mut buffer).unwrap(), Some(Frame::Request(_))));
        }
    }
}
