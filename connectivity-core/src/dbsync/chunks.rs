//! A file as chunks, which are known by their hashes: what a receiver has already is not sent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use ring::digest::{Context, SHA256, digest};

/// The length of a chunk in bytes: a page of most databases. The last chunk may be shorter.
pub(super) const CHUNK: usize = 4096;

/// The first half of the SHA-256 of a chunk. The hash of the whole file decides in the end.
pub(super) type ChunkHash = [u8; 16];

/// The length of the hash of a chunk in bytes.
pub(super) const HASH: usize = 16;

/// Returns the number of chunks of a file.
pub(super) fn count(size: u64) -> usize {
    usize::try_from(size.div_ceil(CHUNK as u64)).unwrap_or(usize::MAX)
}

/// The chunks of a file, and the SHA-256 of the whole.
pub(super) struct Scan {
    pub(super) chunks: Vec<ChunkHash>,
    pub(super) hash: [u8; 32],
    pub(super) size: u64,
}

impl Scan {
    /// Reads a file from its start.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(16 * CHUNK, file);
        reader.seek(SeekFrom::Start(0))?;
        let (mut whole, mut chunks, mut size) = (Context::new(&SHA256), Vec::new(), 0);
        let mut chunk = [0; CHUNK];
        loop {
            let length = fill(&mut reader, &mut chunk)?;
            if length == 0 {
                break;
            }
            let bytes = chunk.get(..length).unwrap_or_default();
            whole.update(bytes);
            chunks.push(chunk_hash(bytes));
            size += length as u64;
        }
        Ok(Self { chunks, hash: sha256(whole), size })
    }
}

fn chunk_hash(bytes: &[u8]) -> ChunkHash {
    let mut hash = ChunkHash::default();
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref().split_at(HASH).0);
    hash
}

/// Returns the digest of what a context was given.
pub(super) fn sha256(context: Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Reads until the buffer is full or the input ends, and returns how much was read.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}

/// Parses the hashes of the chunks of a file, as they are sent.
pub(super) fn parse_hashes(bytes: &[u8]) -> Vec<ChunkHash> {
    bytes.as_chunks::<HASH>().0.to_vec()
}

/// Where a receiver gets the chunks of a new file from.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each chunk its place in the file that is there already; `None` if it must be sent, as
    /// all chunks after the last of these must.
    sources: Vec<Option<u64>>,
}

impl Plan {
    /// Compares the chunks of the new file with those of the present one.
    pub(super) fn new(wanted: &[ChunkHash], present: &[ChunkHash]) -> Self {
        let places: HashMap<ChunkHash, u64> = present.iter().copied().zip(0..).collect();
        Self { sources: wanted.iter().map(|hash| places.get(hash).copied()).collect() }
    }

    /// Returns one bit for each chunk, the first in the lowest bit of the first byte: whether it
    /// must be sent.
    pub(super) fn missing(&self) -> Vec<u8> {
        let byte = |eight: &[Option<u64>]| {
            eight.iter().rev().fold(0, |byte, source| byte << 1 | u8::from(source.is_none()))
        };
        self.sources.chunks(8).map(byte).collect()
    }

    /// Writes the new file: missing chunks from `sent`, the others from `present`. Returns the
    /// SHA-256 of what was written.
    pub(super) fn assemble(
        &self,
        size: u64,
        mut sent: impl Read,
        present: Option<&File>,
        mut to: impl Write,
    ) -> io::Result<[u8; 32]> {
        let (mut whole, mut left, mut chunk) = (Context::new(&SHA256), size, [0; CHUNK]);
        let mut sources = self.sources.iter().copied();
        while left > 0 {
            let source = sources.next().flatten();
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let bytes = chunk.get_mut(..length).unwrap_or_default();
            match (source, present) {
                (Some(place), Some(file)) => read_chunk(file, place, bytes)?,
                _ => sent.read_exact(bytes)?,
            }
            whole.update(bytes);
            to.write_all(bytes)?;
            left -= length as u64;
        }
        to.flush()?;
        Ok(sha256(whole))
    }
}

/// Returns the numbers of the chunks whose bit is set.
pub(super) fn set_bits(bits: &[u8]) -> impl Iterator<Item = u64> {
    let numbered = bits.iter().zip((0..).step_by(8));
    numbered.flat_map(|(byte, first)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| first + bit)
    })
}

/// Reads a chunk of a file; the buffer may be shorter than the chunk.
pub(super) fn read_chunk(mut file: &File, number: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(number.saturating_mul(CHUNK as u64)))?;
    file.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Sends one file to a receiver that has another, and returns how many bytes were sent.
    fn transfer(new: &[u8], old: &[u8]) -> usize {
        let (new_file, old_file) = (file(new), file(old));
        let (scan, present) = (Scan::of(&new_file).unwrap(), Scan::of(&old_file).unwrap());
        let plan = Plan::new(&scan.chunks, &present.chunks);
        let mut sent = Vec::new();
        for number in set_bits(&plan.missing()) {
            let at = usize::try_from(number).unwrap() * CHUNK;
            sent.extend(&new[at..new.len().min(at + CHUNK)]);
        }
        let mut assembled = Vec::new();
        let hash = plan.assemble(scan.size, &*sent, Some(&old_file), &mut assembled).unwrap();
        assert!(assembled == new, "{} bytes from {}", new.len(), old.len());
        assert_eq!(hash, scan.hash);
        sent.len()
    }

    #[test]
    fn only_chunks_that_are_missing_are_sent() {
        let old: Vec<u8> = (0..20 * CHUNK).map(|at| (at / 97) as u8).collect();
        let mut new = old.clone();
        new[9 * CHUNK + 5] ^= 1;
        assert_eq!(transfer(&new, &old), CHUNK);
        assert_eq!(transfer(&old, &old), 0);
        assert_eq!(transfer(&old, &[]), old.len());
        assert_eq!(transfer(&[], &old), 0);
        new.extend(b"a short last chunk");
        assert_eq!(transfer(&new, &old), CHUNK + 18);
        let moved = [&old[3 * CHUNK..], &old[..3 * CHUNK]].concat();
        assert_eq!(transfer(&moved, &old), 0);
    }

    #[test]
    fn a_short_transfer_is_an_error() {
        let new = file(&[7; 3 * CHUNK]);
        let plan = Plan::new(&Scan::of(&new).unwrap().chunks, &[]);
        let result = plan.assemble(3 * CHUNK as u64, &[7; CHUNK][..], None, io::sink());
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
