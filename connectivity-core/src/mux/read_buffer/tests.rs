use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::*;
use crate::mux::frame::{Encoder, HEAD, Role, write_preamble};

/// A reader that yields one piece per read, as far as it fits; then it is pending, or at its end.
#[derive(Default)]
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    is_over: bool,
}

impl Pieces {
    fn of(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { pieces: pieces.into_iter().collect(), is_over: false }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.is_over { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

/// Polls `fill` once and drops the future, as a `select!` does; `None` if no bytes came.
fn fill(read_buffer: &mut ReadBuffer, reader: &mut Pieces) -> Option<usize> {
    match pin!(read_buffer.fill(reader)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => Some(read.unwrap()),
        Poll::Pending => None,
    }
}

fn take(read_buffer: &mut ReadBuffer) -> Option<(u64, Bytes)> {
    match read_buffer.frame(Decoder::new(2 << 20)).unwrap()? {
        Frame::Part { call, body, .. } => Some((call, body)),
        other => panic!("{other:?}"),
    }
}

fn part(call: u64, length: usize) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.part(call, false, &vec![b'x'; length]);
    encoder.buffer().to_vec()
}

#[test]
fn an_idle_stream_keeps_no_large_buffer() {
    for burst in [vec![part(1, 1000); 64].concat(), part(1, 1 << 20), part(1, 10_000)] {
        let (mut read_buffer, mut reader) = (ReadBuffer::default(), Pieces::default());
        assert_eq!(fill(&mut read_buffer, &mut reader), None);
        assert_eq!(read_buffer.bytes.capacity(), 0);
        reader.pieces.push_back(burst);
        while fill(&mut read_buffer, &mut reader).is_some() {
            while take(&mut read_buffer).is_some() {}
        }
        assert_eq!((read_buffer.bytes.capacity(), read_buffer.peak_capacity), (0, 0));
    }
}

#[test]
fn one_small_frame_at_a_time_needs_one_buffer() {
    let (mut read_buffer, mut reader) = (ReadBuffer::default(), Pieces::default());
    let mut pointers = Vec::new();
    for call in 0..100 {
        reader.pieces.push_back(part(call, 100));
        assert_eq!(fill(&mut read_buffer, &mut reader), Some(HEAD + 100));
        let (taken, body) = take(&mut read_buffer).unwrap();
        assert_eq!((taken, body.len()), (call, 100));
        pointers.push(body.as_ptr());
        assert!(take(&mut read_buffer).is_none());
        drop(body);
        assert_eq!(fill(&mut read_buffer, &mut reader), None);
    }
    assert_eq!(read_buffer.peak_capacity, MAX_RETAINED);
    let begin = *pointers.iter().min().unwrap() as usize;
    assert!(pointers.iter().all(|pointer| *pointer as usize - begin < MAX_RETAINED));
}

#[test]
fn a_body_that_is_kept_is_not_written_over() {
    let (mut read_buffer, mut reader) =
        (ReadBuffer::default(), Pieces::of([part(1, 100), vec![0; 100], part(2, 5)]));
    fill(&mut read_buffer, &mut reader);
    let (_, kept) = take(&mut read_buffer).unwrap();
    fill(&mut read_buffer, &mut reader);
    assert_eq!(&kept[..], [b'x'; 100]);
}

#[test]
fn a_frame_cut_anywhere_is_one_frame() {
    let frames = [part(1, 20), part(2, 0), part(3, 3)].concat();
    for cut in 0..=frames.len() {
        let (first, second) = frames.split_at(cut);
        let (mut read_buffer, mut reader) = (ReadBuffer::default(), Pieces::of([first.to_vec()]));
        let mut taken = Vec::new();
        for piece in [None, Some(second.to_vec())] {
            reader.pieces.extend(piece);
            while fill(&mut read_buffer, &mut reader).is_some_and(|read| read > 0) {
                taken.extend(
                    std::iter::from_fn(|| take(&mut read_buffer))
                        .map(|(call, body)| (call, body.len())),
                );
            }
        }
        assert_eq!(taken, [(1, 20), (2, 0), (3, 3)], "cut at {cut}");
    }
}

#[test]
fn a_large_frame_gets_its_room_at_once_when_enough_came() {
    let (mut read_buffer, mut reader) = (ReadBuffer::default(), Pieces::of([part(1, 1 << 20)]));
    let mut reads = Vec::new();
    let body = loop {
        reads.push(fill(&mut read_buffer, &mut reader).unwrap());
        if let Some((_, body)) = take(&mut read_buffer) {
            break body;
        }
    };
    assert_eq!((reads.len(), reads[0]), (3, READ_SIZE), "{reads:?}");
    assert_eq!(body.len(), 1 << 20);
}

#[test]
fn a_length_that_is_only_claimed_gets_no_room() {
    let mut pieces = part(1, 2 << 20);
    pieces.truncate(100);
    let (mut read_buffer, mut reader) =
        (ReadBuffer::default(), Pieces::of(pieces.chunks(10).map(<[u8]>::to_vec)));
    while fill(&mut read_buffer, &mut reader).is_some() {
        assert!(take(&mut read_buffer).is_none());
        assert!(read_buffer.bytes.capacity() < 3 * READ_SIZE);
    }
    assert_eq!(read_buffer.bytes.len(), 100);
}

#[test]
fn a_stream_begins_and_ends() {
    let begins = [&write_preamble(Role::Single)[..], &part(9, 4)].concat();
    let mut reader = Pieces::of(begins.chunks(5).map(<[u8]>::to_vec));
    reader.is_over = true;
    let mut read_buffer = ReadBuffer::default();
    assert_eq!((read_buffer.preamble(), fill(&mut read_buffer, &mut reader)), (None, Some(5)));
    assert_eq!((read_buffer.preamble(), fill(&mut read_buffer, &mut reader)), (None, Some(5)));
    assert_eq!(read_buffer.preamble(), Some(write_preamble(Role::Single)));
    while fill(&mut read_buffer, &mut reader) != Some(0) {}
    assert_eq!(take(&mut read_buffer).unwrap().0, 9);
}
