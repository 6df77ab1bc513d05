//! Record batches as the load writes and reads them. Each value begins with a stamp, by which a reader knows the record again.

use super::codec;
use super::draw::{Rng, Sizes, content, mix};
use crate::bench::workload::{Codec, Records};
use crc_fast::{CrcAlgorithm, checksum};

/// Bytes of the stamp: producer, sequence, planned time, seal.
pub(super) const STAMP: usize = 24;
/// Bytes before the records of a batch.
const HEAD: usize = 61;
/// Where the checksum stands, and where what it covers begins.
const CRC_AT: usize = 17;
const COVERED: usize = 21;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// What makes a record known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: u32,
    /// Of this producer in this partition, from 0.
    pub(super) sequence: u64,
    /// When it was to be sent, on the machine's monotonic clock.
    pub(super) planned: u64,
}

/// Ties a stamp to its run and its partition: a record that was changed, or is somewhere else, does not fit.
fn seal(nonce: u64, place: u32, stamp: &Stamp) -> u32 {
    let who = u64::from(stamp.producer) << 32 | u64::from(place);
    mix(nonce ^ mix(who) ^ stamp.sequence.rotate_left(20) ^ mix(stamp.planned)) as u32
}

/// Reads the stamp of a value; None: not written by this run into this partition.
pub(super) fn stamp_of(nonce: u64, place: u32, value: &[u8]) -> Option<Stamp> {
    let head = value.first_chunk::<STAMP>()?;
    let number = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let stamp = Stamp { producer: (number(0) >> 32) as u32, sequence: number(4), planned: number(12) };
    (number(16) as u32 == seal(nonce, place, &stamp)).then_some(stamp)
}

/// A record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) planned: u64,
    pub(super) key: Option<u64>,
}

/// A batch to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) place: u32,
    pub(super) producer: u32,
    /// Sequence of its first record.
    pub(super) first: u64,
    /// Producer id, epoch and base sequence as the broker knows them; -1 each without idempotence.
    pub(super) identity: (i64, i16, i32),
    pub(super) transactional: bool,
    /// Milliseconds since 1970.
    pub(super) time: i64,
}

/// Writes batches: one a client core.
#[derive(Debug)]
pub(super) struct Maker {
    nonce: u64,
    codec: Codec,
    sizes: Sizes,
    /// Lengths follow from who writes what, so that a batch sent again is the same.
    seed: u64,
    content: Vec<u8>,
    cursor: usize,
    plain: Vec<u8>,
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push((left as u8 & 0x7f) | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Bytes of a varint that is not negative.
fn varint_len(value: usize) -> usize {
    (1 + (63 - ((value as u64) << 1 | 1).leading_zeros() as usize) / 7).max(1)
}

impl Maker {
    pub(super) fn new(nonce: u64, seed: u64, records: &Records, codec: Codec) -> Maker {
        let sizes = Sizes::new(&records.size, STAMP);
        // What is not compressed may repeat soon, and stays in the cache.
        let pool = if codec == Codec::None { 128 << 10 } else { 1 << 20 };
        let content = content(&mut Rng::new(seed), pool.max(2 * sizes.largest()), records.compressible);
        Maker { nonce, codec, sizes, seed, content, cursor: 0, plain: Vec::new() }
    }

    /// Appends a batch of `items` and answers the bytes of its values.
    pub(super) fn batch(&mut self, out: &mut Vec<u8>, head: &Head, items: impl ExactSizeIterator<Item = Item>) -> u64 {
        let (start, count) = (out.len(), items.len() as i32);
        let attributes = codec::number(self.codec) | if head.transactional { TRANSACTIONAL } else { 0 };
        let (id, epoch, sequence) = head.identity;
        let mut fixed = [0u8; HEAD];
        fixed[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        fixed[16] = 2;
        fixed[21..23].copy_from_slice(&attributes.to_be_bytes());
        fixed[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        fixed[27..35].copy_from_slice(&head.time.to_be_bytes());
        fixed[35..43].copy_from_slice(&head.time.to_be_bytes());
        fixed[43..51].copy_from_slice(&id.to_be_bytes());
        fixed[51..53].copy_from_slice(&epoch.to_be_bytes());
        fixed[53..57].copy_from_slice(&sequence.to_be_bytes());
        fixed[57..61].copy_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&fixed);
        let values = if self.codec == Codec::None {
            self.records(out, head, items)
        } else {
            let mut plain = std::mem::take(&mut self.plain);
            plain.clear();
            let values = self.records(&mut plain, head, items);
            codec::compress(self.codec, &plain, out).expect("compressing into memory");
            self.plain = plain;
            values
        };
        let length = (out.len() - start - 12) as i32;
        out[start + 8..start + 12].copy_from_slice(&length.to_be_bytes());
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &out[start + COVERED..]) as u32;
        out[start + CRC_AT..start + COVERED].copy_from_slice(&crc.to_be_bytes());
        values
    }

    fn records(&mut self, out: &mut Vec<u8>, head: &Head, items: impl Iterator<Item = Item>) -> u64 {
        let mut values = 0;
        let drawn = mix(self.seed ^ u64::from(head.producer) << 32 ^ u64::from(head.place));
        for (delta, item) in items.enumerate() {
            let stamp = Stamp { producer: head.producer, sequence: head.first + delta as u64, planned: item.planned };
            let size = match &self.sizes {
                Sizes::Fixed(size) => *size,
                drawing => drawing.draw(&mut Rng::new(drawn ^ stamp.sequence)),
            };
            let key = if item.key.is_some() { 8 } else { 0 };
            // Attributes, a time delta of 0, the key's length (8, or -1), no headers: one byte each.
            let length = 4 + varint_len(delta) + key + varint_len(size) + size;
            put_varint(out, length as i64);
            out.extend_from_slice(&[0, 0]);
            put_varint(out, delta as i64);
            match item.key {
                Some(key) => {
                    out.push(16);
                    out.extend_from_slice(&key.to_be_bytes());
                }
                None => out.push(1),
            }
            put_varint(out, size as i64);
            self.value(out, head.place, &stamp, size);
            out.push(0);
            values += size as u64;
        }
        values
    }

    fn value(&mut self, out: &mut Vec<u8>, place: u32, stamp: &Stamp, size: usize) {
        let mut head = [0u8; STAMP];
        head[..4].copy_from_slice(&stamp.producer.to_be_bytes());
        head[4..12].copy_from_slice(&stamp.sequence.to_be_bytes());
        head[12..20].copy_from_slice(&stamp.planned.to_be_bytes());
        head[20..].copy_from_slice(&seal(self.nonce, place, stamp).to_be_bytes());
        out.extend_from_slice(&head);
        let rest = size - STAMP;
        if self.cursor + rest > self.content.len() {
            self.cursor = 0;
        }
        out.extend_from_slice(&self.content[self.cursor..self.cursor + rest]);
        self.cursor += rest;
    }
}

/// What a fetched piece of log held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// The offset to go on from.
    pub(super) next: i64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// A varint, zigzag: its value, and the bytes after it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (k, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * k as u32)?;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[k + 1..]));
        }
    }
    None
}

/// A record's offset delta and value, and the bytes after it. A null value is empty.
fn record(bytes: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (_time, body) = varint(body.get(1..)?)?;
    let (delta, body) = varint(body)?;
    let (key, body) = varint(body)?;
    let (value, body) = varint(body.get(usize::try_from(key.max(0)).ok()?..)?)?;
    Some((delta, body.get(..usize::try_from(value.max(0)).ok()?)?, after))
}

/// Walks the batches of a fetched piece of log, checksums included, and shows every record from offset `from` on: offset and value.
/// A batch cut short ends it, as a fetch may. `plain` is for what is unpacked.
pub(super) fn walk(
    bytes: &[u8],
    from: i64,
    plain: &mut Vec<u8>,
    mut show: impl FnMut(i64, &[u8]),
) -> Result<Walked, &'static str> {
    let mut walked = Walked { next: from, ..Walked::default() };
    let mut rest = bytes;
    while let Some(head) = rest.first_chunk::<HEAD>() {
        let long = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let length = usize::try_from(word(8)).map_err(|_| "a batch of negative length")?;
        let Some((batch, after)) = rest.split_at_checked(12 + length) else { break };
        if head[16] != 2 || length < HEAD - 12 {
            return Err("a batch that is not of version 2");
        }
        if word(CRC_AT) as u32 != checksum(CrcAlgorithm::Crc32Iscsi, &batch[COVERED..]) as u32 {
            return Err("a batch whose checksum is wrong");
        }
        rest = after;
        let (base, attributes, count) = (long(0), i16::from_be_bytes([head[21], head[22]]), word(57));
        let next = base.checked_add(i64::from(word(23)) + 1).ok_or("a batch beyond the largest offset")?;
        if next <= from {
            continue;
        }
        walked.next = walked.next.max(next);
        walked.bytes += batch.len() as u64;
        if attributes & CONTROL != 0 {
            continue;
        }
        let packed = &batch[HEAD..];
        let mut records: &[u8] = match attributes & 7 {
            0 => packed,
            codec => {
                codec::decompress(codec, packed, plain).map_err(|_| "a batch that does not unpack")?;
                &*plain
            }
        };
        for _ in 0..count {
            let (delta, value, after) = record(records).ok_or("a batch with a broken record")?;
            records = after;
            let offset = base.checked_add(delta).ok_or("a record beyond the largest offset")?;
            if offset >= from {
                walked.records += 1;
                show(offset, value);
            }
        }
    }
    Ok(walked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::Size;

    fn made(codec: Codec, size: Size, keyed: bool) -> (Vec<u8>, u64) {
        let records = Records { size, compressible: 0.5, ..Records::default() };
        let mut maker = Maker::new(9, 1, &records, codec);
        let head = Head {
            place: 3,
            producer: 2,
            first: 100,
            identity: (7, 0, 100),
            transactional: false,
            time: 1_700_000_000_000,
        };
        let items = (0..5u32).map(u64::from).map(|k| Item { planned: 1000 + k, key: keyed.then_some(k) });
        let mut out = vec![0xaa; 3];
        let values = maker.batch(&mut out, &head, items);
        (out.split_off(3), values)
    }

    #[test]
    fn what_is_made_is_read_again() {
        let all = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        for (codec, keyed) in all.into_iter().flat_map(|codec| [(codec, true), (codec, false)]) {
            for size in [Size::Fixed(24), Size::Fixed(64), Size::Fixed(20_000), Size::Uniform { from: 1, to: 9000 }] {
                let (bytes, values) = made(codec, size, keyed);
                let (mut found, mut plain, mut sum) = (Vec::new(), Vec::new(), 0);
                let walked = walk(&bytes, 2, &mut plain, |offset, value| {
                    sum += value.len() as u64;
                    found.push((offset, stamp_of(9, 3, value)));
                    assert_eq!(stamp_of(9, 4, value), None, "another partition");
                    assert_eq!(stamp_of(8, 3, value), None, "another run");
                });
                assert_eq!(walked, Ok(Walked { next: 5, records: 3, bytes: bytes.len() as u64 }));
                let wanted = |k: u64| Stamp { producer: 2, sequence: 100 + k, planned: 1000 + k };
                assert_eq!(found, (2..5).map(|k| (k as i64, Some(wanted(k)))).collect::<Vec<_>>());
                assert!(sum <= values);
            }
        }
    }

    #[test]
    fn damage_is_told_and_a_cut_is_not() {
        let (bytes, _) = made(Codec::None, Size::Fixed(100), false);
        let seen = |bytes: &[u8]| walk(bytes, 0, &mut Vec::new(), |_, _| {}).map(|w| w.records);
        assert_eq!(seen(&bytes), Ok(5));
        assert_eq!(seen(&bytes[..bytes.len() - 1]), Ok(0));
        assert_eq!(seen(&bytes[..40]), Ok(0));
        for at in 21..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(seen(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn our_batches_are_the_ones_of_the_other_client() {
        let (bytes, _) = made(Codec::None, Size::Fixed(300), false);
        let mut values = Vec::new();
        walk(&bytes, 0, &mut Vec::new(), |_, value| values.push(value.to_vec())).unwrap();
        let producer = crate::peer::Producer { id: 7, epoch: 0 };
        assert_eq!(bytes, crate::peer::batch_at(1_700_000_000_000, producer, 100, &values));
    }

    #[test]
    fn lengths_of_varints() {
        for value in [0usize, 1, 63, 64, 8191, 8192, 1 << 20, 1 << 40] {
            let mut out = Vec::new();
            put_varint(&mut out, value as i64);
            assert_eq!(varint_len(value), out.len(), "{value}");
        }
    }
}
