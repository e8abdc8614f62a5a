//! Cost of the codecs: `cargo bench -p connectivity-core --bench codec`. Compare lines of one run,
//! or two runs on an idle machine.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark has no users, and a failed unwrap ends it"
)]

use connectivity_core::Codec;
use divan::Bencher;
use serde::{Deserialize, Serialize};

fn main() {
    divan::main();
}

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

#[derive(Clone, Serialize, Deserialize)]
struct Charge {
    id: u64,
    customer: String,
    note: Option<String>,
    lines: Vec<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
    cents: i64,
    kind: Kind,
}

#[derive(Clone, Serialize, Deserialize)]
enum Kind {
    Goods,
    Discount { percent: u8 },
}

fn charge() -> Charge {
    let line = |at: u32| Line {
        sku: format!("sku-{at}"),
        quantity: at,
        cents: -1200 * i64::from(at),
        kind: if at.is_multiple_of(2) { Kind::Goods } else { Kind::Discount { percent: 5 } },
    };
    Charge { id: 4711, customer: "somebody".into(), note: None, lines: (0..5).map(line).collect() }
}

fn numbers() -> Vec<u64> {
    (0..10_000).map(|at| at * at).collect()
}

#[divan::bench(args = CODECS)]
fn charge_encode(bencher: Bencher<'_, '_>, codec: Codec) {
    let value = charge();
    bencher.bench(|| codec.encode(divan::black_box(&value)).unwrap());
}

#[divan::bench(args = CODECS)]
fn charge_decode(bencher: Bencher<'_, '_>, codec: Codec) {
    let bytes = codec.encode(&charge()).unwrap();
    bencher.bench(|| codec.decode::<Charge>(divan::black_box(&bytes)).unwrap());
}

#[divan::bench(args = CODECS)]
fn numbers_encode(bencher: Bencher<'_, '_>, codec: Codec) {
    let value = numbers();
    bencher.bench(|| codec.encode(divan::black_box(&value)).unwrap());
}

#[divan::bench(args = CODECS)]
fn numbers_decode(bencher: Bencher<'_, '_>, codec: Codec) {
    let bytes = codec.encode(&numbers()).unwrap();
    bencher.bench(|| codec.decode::<Vec<u64>>(divan::black_box(&bytes)).unwrap());
}

fn bytes() -> Vec<u8> {
    (0..1 << 20).map(|at: u32| (at % 256) as u8).collect()
}

#[divan::bench]
fn bytes_encode(bencher: Bencher<'_, '_>) {
    let value = bytes();
    bencher.bench(|| Codec::Bincode.encode(divan::black_box(&value)).unwrap());
}

#[divan::bench]
fn bytes_decode(bencher: Bencher<'_, '_>) {
    let bytes = Codec::Bincode.encode(&bytes()).unwrap();
    bencher.bench(|| Codec::Bincode.decode::<Vec<u8>>(divan::black_box(&bytes)).unwrap());
}

/// Beside the two above: one copy of the same bytes.
#[divan::bench]
fn bytes_copy(bencher: Bencher<'_, '_>) {
    let value = bytes();
    bencher.bench(|| divan::black_box(&value).clone());
}
