//! Splits a stream of bytes into JSON values. No I/O.
//!
//! Messages are sent one per line, but a value may also span several lines, end in CRLF, or be
//! followed by the next value on the same line. A truncated value does not swallow the values after
//! it: where a value cannot continue, the framer starts over.

use bytes::{Buf, Bytes, BytesMut};

/// What the framer found in the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// A value delimited by its brackets. Whether it is valid JSON is left to a parser.
    Value(Bytes),
    /// Bytes that cannot be part of a value; they have been dropped.
    Junk,
    /// A value with too many members; it must not be parsed.
    TooManyMembers(Bytes),
    /// The first bytes of a value over the limit; the rest is skipped.
    TooLong(Bytes),
    /// A value too long to skip, or a line of junk over the limit.
    Endless,
}

/// Bytes kept of an oversized value: enough to find the id of the request.
const MAX_PREFIX: usize = 4 * 1024;

/// Multiple of the limit up to which an oversized value is skipped.
const MAX_SKIP_FACTOR: usize = 3;

/// Splits a stream of bytes into values.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: BytesMut,
    limit: usize,
    max_members: usize,
    scan: Scan,
    /// Bytes skipped of an oversized value.
    skipped: usize,
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Scan state of the value at the front of the buffer.
#[derive(Debug, Default)]
struct Scan {
    position: usize,
    depth: usize,
    members: usize,
    in_string: bool,
    escaped: bool,
    /// Last byte outside strings that is not whitespace.
    last_byte: u8,
}

impl Framer {
    /// Creates a framer that limits the bytes and the commas of a value: a member takes much more
    /// memory than its two bytes on the wire.
    pub(crate) fn new(limit: usize, max_members: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, max_members, scan: Scan::default(), skipped: 0 }
    }

    /// Returns the maximum size of a value, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the buffer to read into.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Returns the next frame, or `None` until there are more bytes.
    pub(crate) fn next(&mut self) -> Option<Framed> {
        if self.skipped > 0 && !self.skip() {
            return (self.skipped > self.limit.saturating_mul(MAX_SKIP_FACTOR))
                .then_some(Framed::Endless);
        }
        if self.scan.depth == 0 {
            self.skip_blank();
            match self.buffer.first()? {
                b'{' | b'[' => {}
                _ if BYTE_ORDER_MARK.starts_with(&self.buffer) => return None,
                _ => return self.skip_junk_line(),
            }
        }
        let found = self.scan.run(&self.buffer);
        match found {
            None if self.buffer.len() > self.limit => {
                let prefix = self.prefix(self.buffer.len());
                self.drop_scanned();
                Some(Framed::TooLong(prefix))
            }
            None => None,
            Some(Found::End(end) | Found::CutOff(end)) if end > self.limit => {
                let prefix = self.prefix(end);
                self.buffer.advance(end);
                self.scan = Scan::default();
                Some(Framed::TooLong(prefix))
            }
            Some(Found::End(end)) => {
                let members = std::mem::take(&mut self.scan).members;
                let value = self.buffer.split_to(end).freeze();
                Some(if members > self.max_members {
                    Framed::TooManyMembers(value)
                } else {
                    Framed::Value(value)
                })
            }
            Some(Found::CutOff(end)) => {
                self.scan = Scan::default();
                self.buffer.advance(end);
                Some(Framed::Junk)
            }
        }
    }

    /// Drops what may stand between values: whitespace, and the byte order mark that some programs
    /// start with.
    fn skip_blank(&mut self) {
        loop {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
            if !self.buffer.starts_with(BYTE_ORDER_MARK) {
                return;
            }
            self.buffer.advance(BYTE_ORDER_MARK.len());
        }
    }

    /// Drops a line that does not start with a bracket, once the line is complete. Returns
    /// `Endless` if it is over the limit.
    fn skip_junk_line(&mut self) -> Option<Framed> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n');
        if end.unwrap_or(self.buffer.len()) > self.limit {
            return Some(Framed::Endless);
        }
        self.buffer.advance(end? + 1);
        Some(Framed::Junk)
    }

    /// Skips the rest of an oversized value. Returns whether the value has ended.
    fn skip(&mut self) -> bool {
        match self.scan.run(&self.buffer) {
            Some(Found::End(end) | Found::CutOff(end)) => {
                self.buffer.advance(end);
                (self.scan, self.skipped) = (Scan::default(), 0);
                true
            }
            None => {
                self.drop_scanned();
                false
            }
        }
    }

    fn prefix(&self, length: usize) -> Bytes {
        Bytes::copy_from_slice(&self.buffer[..length.min(MAX_PREFIX)])
    }

    /// Drops all buffered bytes: they belong to a value that is being skipped.
    fn drop_scanned(&mut self) {
        self.skipped += self.buffer.len();
        self.buffer = BytesMut::new();
        self.scan.position = 0;
    }
}

enum Found {
    /// The value ends before this offset.
    End(usize),
    /// The value was truncated; the next one may start at this offset.
    CutOff(usize),
}

impl Scan {
    fn run(&mut self, bytes: &[u8]) -> Option<Found> {
        while let Some(&byte) = bytes.get(self.position) {
            self.position += 1;
            if self.in_string {
                if byte == b'\n' {
                    return Some(Found::CutOff(self.position));
                }
                self.string(byte);
                continue;
            }
            match byte {
                b'{' | b'[' if !self.can_open() => return Some(Found::CutOff(self.position - 1)),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(Found::End(self.position));
                    }
                }
                b'"' => self.in_string = true,
                b',' => self.members += 1,
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                self.last_byte = byte;
            }
        }
        None
    }

    /// Returns whether an opening bracket is valid here: at the front, or after `:`, `,` or `[`.
    fn can_open(&self) -> bool {
        self.depth == 0 || matches!(self.last_byte, b':' | b',' | b'[')
    }

    fn string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMBERS: usize = 100;

    /// Returns the frames of `bytes`, fed in pieces of `piece` bytes.
    fn frames(bytes: &[u8], piece: usize, limit: usize) -> Vec<Framed> {
        let mut framer = Framer::new(limit, MEMBERS);
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            framer.buffer().extend_from_slice(piece);
            while let Some(framed) = framer.next() {
                let is_end = framed == Framed::Endless;
                found.push(framed);
                if is_end {
                    return found;
                }
            }
            assert!(framer.buffer().len() <= limit, "no more is buffered than a value may have");
        }
        found
    }

    /// Blanks the prefixes of oversized values: their length depends on the pieces.
    fn no_prefix(found: Vec<Framed>) -> Vec<Framed> {
        let without = |framed| match framed {
            Framed::TooLong(_) => Framed::TooLong(Bytes::new()),
            framed => framed,
        };
        found.into_iter().map(without).collect()
    }

    fn value(text: &'static str) -> Framed {
        Framed::Value(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_however_it_arrives() {
        for cut in 0..6 {
            let bytes = "\u{feff}{}\n".as_bytes();
            let mut framer = Framer::new(100, 100);
            framer.buffer().extend_from_slice(&bytes[..cut]);
            let early = framer.next();
            assert!(early.is_none() || cut >= 5, "{cut}: {early:?}");
            framer.buffer().extend_from_slice(&bytes[cut..]);
            let found = early.or_else(|| framer.next());
            assert!(
                matches!(&found, Some(Framed::Value(value)) if value == "{}"),
                "{cut}: {found:?}"
            );
        }
    }

    #[test]
    fn values_by_the_line_over_lines_and_after_each_other() {
        let text = b"{\"a\":1}\n{\"a\":2}\r\n\r\n{\r\n  \"a\": [\r\n    1, {}\n  ]\r\n}\n{\"a\":3}{\"a\":4} [1]\n{\"}\\\"{\":\"\\\\\"}\n";
        let all = vec![
            value("{\"a\":1}"),
            value("{\"a\":2}"),
            value("{\r\n  \"a\": [\r\n    1, {}\n  ]\r\n}"),
            value("{\"a\":3}"),
            value("{\"a\":4}"),
            value("[1]"),
            value("{\"}\\\"{\":\"\\\\\"}"),
        ];
        for piece in 1..text.len() {
            assert_eq!(frames(text, piece, 100), all, "{piece}");
        }
    }

    #[test]
    fn what_is_cut_off_or_junk_swallows_nothing_after_it() {
        for junk in [
            "hello {\n",
            "1\n",
            "}\n",
            "\"a\n",
            "{\"a\":1\n",
            "{\"a\": \"\n",
            "{\"a\":[1,2\n",
            "[[]\n",
            "\u{0}\n",
        ] {
            let text = format!("{junk}{{\"b\":1}}\n");
            for piece in 1..=text.len() {
                assert_eq!(
                    frames(text.as_bytes(), piece, 100),
                    [Framed::Junk, value("{\"b\":1}")],
                    "{junk} {piece}"
                );
            }
        }
    }

    #[test]
    fn a_value_that_is_too_long_is_passed_over_and_an_endless_one_is_noticed() {
        for start in ["{\"a\":\"", "["] {
            let endless = format!("{start}{}", "x".repeat(200));
            let found = frames(endless.as_bytes(), 7, 50);
            assert!(
                matches!(&found[..], [Framed::TooLong(prefix), Framed::Endless] if prefix.starts_with(start.as_bytes()))
            );
        }
        assert_eq!(frames(format!("junk{}", "x".repeat(100)).as_bytes(), 7, 50), [Framed::Endless]);
        let fits = format!("[{}]", "1".repeat(48));
        assert_eq!(frames(fits.as_bytes(), 50, 50).len(), 1);
        for piece in 1..120 {
            for long in [
                "[[1,1],[\"]\\\"]\",1111111111111111111111111111111]]",
                "{\"a\":\"1111111111111111111111111111111111111111\"}",
            ] {
                let found = frames(format!("{long} {{\"b\":1}}{fits}").as_bytes(), piece, 40);
                let [Framed::TooLong(prefix), after @ .., Framed::TooLong(_)] = &found[..] else {
                    panic!("{found:?}")
                };
                assert!(long.as_bytes().starts_with(prefix), "{piece}");
                assert_eq!(after, [value("{\"b\":1}")], "{piece}");
            }
        }
    }

    #[test]
    fn a_crowded_value_is_left_out() {
        let crowd = format!("[{}0] {{}}", "0,".repeat(MEMBERS + 1));
        let found = frames(crowd.as_bytes(), 64, 1 << 20);
        assert!(
            matches!(&found[..], [Framed::TooManyMembers(_), end] if *end == value("{}")),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_framed_alike_in_any_pieces(bytes: Vec<u8>, piece in 1..9_usize) {
            prop_assert_eq!(frames(&bytes, piece, 1000), frames(&bytes, bytes.len().max(1), 1000));
        }

        #[test]
        fn bytes_of_json_are_framed_alike_in_any_pieces(text in "[\\[\\]{}\",:\\\\\n 1a]{0,60}", piece in 1..9_usize) {
            prop_assert_eq!(frames(text.as_bytes(), piece, 1000), frames(text.as_bytes(), text.len().max(1), 1000));
        }

        #[test]
        fn what_is_too_long_is_passed_over_alike_in_any_pieces(
            text in "[\\[\\]{}\",:\\\\\n 1a]{0,80}",
            piece in 1..9_usize,
            // A value of at most 80 bytes must not be over three times the limit.
            limit in 27..60_usize,
        ) {
            let found = no_prefix(frames(text.as_bytes(), piece, limit));
            prop_assert_eq!(found, no_prefix(frames(text.as_bytes(), text.len().max(1), limit)));
        }

        #[test]
        fn values_around_a_long_one_are_found(
            values in proptest::collection::vec("\\{\"a\":\\[\"[a\\]}{]{0,150}\",1\\]\\}[ \n]{0,2}", 1..8),
            piece in 1..90_usize,
        ) {
            const LIMIT: usize = 60;
            let expected = values.iter().map(|value| match value.trim_ascii_end() {
                long if long.len() > LIMIT => Framed::TooLong(Bytes::new()),
                fits => Framed::Value(Bytes::copy_from_slice(fits.as_bytes())),
            });
            let expected: Vec<_> = expected.collect();
            prop_assert_eq!(no_prefix(frames(values.concat().as_bytes(), piece, LIMIT)), expected);
        }
    }
}
