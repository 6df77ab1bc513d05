//! The protocol's primitive types, read from a [`Rope`] with every check and written to a `Vec`. Not a codec of messages.
//!
//! Source: the protocol page "Protocol Primitive Types" and KIP-482 (compact types, tagged fields).
//! `flexible` says which of the two encodings a version uses.

use ringlog_engine::rope::Rope;
use ringlog_engine::types::TopicId;

use crate::refusal::Refusal;

/// Most tagged fields one structure may carry; Kafka defines at most three anywhere.
pub const MAX_TAGGED_FIELDS: u32 = 32;

/// How a topic is named in a request: by name in old versions, by id in new ones.
#[derive(Clone, Copy, Debug)]
pub enum TopicRef<'a> {
    /// Not checked to be UTF-8; see [`text`].
    Name(Rope<'a>),
    Id(TopicId),
}

/// How a topic is named in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicName<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// The bytes as text: in place where they lie in one piece, else copied to `scratch`.
/// None if they are not UTF-8, or are in pieces and longer than `scratch`.
pub fn text<'b, 'a: 'b>(bytes: Rope<'a>, scratch: &'b mut [u8]) -> Option<&'b str> {
    let whole: &'b [u8] = match bytes.contiguous() {
        Some(whole) => whole,
        None => {
            let room = scratch.get_mut(..bytes.len())?;
            bytes.copy_to(room);
            room
        }
    };
    std::str::from_utf8(whole).ok()
}

/// Whether the bytes are UTF-8, wherever they are cut.
pub fn is_utf8(bytes: Rope<'_>) -> bool {
    let (mut carry, mut held) = ([0u8; 4], 0);
    for mut piece in bytes.slices() {
        while held > 0 && !piece.is_empty() {
            carry[held] = piece[0];
            held += 1;
            piece = &piece[1..];
            match std::str::from_utf8(&carry[..held]) {
                Ok(_) => held = 0,
                Err(e) if e.error_len().is_some() || held == carry.len() => return false,
                Err(_) => {}
            }
        }
        if let Err(e) = std::str::from_utf8(piece) {
            if e.error_len().is_some() {
                return false;
            }
            let tail = &piece[e.valid_up_to()..];
            carry[..tail.len()].copy_from_slice(tail);
            held = tail.len();
        }
    }
    held == 0
}

/// A string or null. Its bytes are not checked to be UTF-8.
pub fn nullable_string<'a>(from: &mut Rope<'a>, flexible: bool) -> Result<Option<Rope<'a>>, Refusal> {
    let len = if flexible { compact_length(from)? } else { i32::from(from.read_i16()?) };
    sized(from, len)
}

pub fn string<'a>(from: &mut Rope<'a>, flexible: bool) -> Result<Rope<'a>, Refusal> {
    nullable_string(from, flexible)?.ok_or(Refusal::NullNotAllowed)
}

/// Bytes or null; record sets are coded the same way.
pub fn nullable_bytes<'a>(from: &mut Rope<'a>, flexible: bool) -> Result<Option<Rope<'a>>, Refusal> {
    let len = if flexible { compact_length(from)? } else { from.read_i32()? };
    sized(from, len)
}

/// The count of an array, or None for null. `min_element` is the fewest bytes an element can take, at least 1.
pub fn nullable_count(from: &mut Rope<'_>, flexible: bool, min_element: usize) -> Result<Option<usize>, Refusal> {
    let count = if flexible { compact_length(from)? } else { from.read_i32()? };
    match count {
        -1 => Ok(None),
        len if len < 0 => Err(Refusal::NegativeLength { len }),
        count if count as usize > from.len() / min_element => {
            Err(Refusal::CountBeyondBody { count: count as usize, remaining: from.len() })
        }
        count => Ok(Some(count as usize)),
    }
}

pub fn count(from: &mut Rope<'_>, flexible: bool, min_element: usize) -> Result<usize, Refusal> {
    nullable_count(from, flexible, min_element)?.ok_or(Refusal::NullNotAllowed)
}

pub fn topic<'a>(from: &mut Rope<'a>, flexible: bool, by_id: bool) -> Result<TopicRef<'a>, Refusal> {
    if by_id { Ok(TopicRef::Id(TopicId(from.read_array()?))) } else { string(from, flexible).map(TopicRef::Name) }
}

/// Steps over the tagged fields of a structure, storing none.
pub fn skip_tags(from: &mut Rope<'_>) -> Result<(), Refusal> {
    each_tag(from, |_, _| Ok(()))
}

/// Hands each tagged field of a structure to `take`, in the order of their tags.
pub fn each_tag<'a>(
    from: &mut Rope<'a>,
    mut take: impl FnMut(u32, Rope<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let count = from.read_uvarint()?;
    if count > MAX_TAGGED_FIELDS {
        return Err(Refusal::TooManyTaggedFields { count });
    }
    let mut least = 0;
    for _ in 0..count {
        let tag = from.read_uvarint()?;
        if tag < least {
            return Err(Refusal::TagsOutOfOrder { tag });
        }
        least = tag.saturating_add(1);
        let size = from.read_uvarint()? as usize;
        take(tag, from.read_slice(size)?)?;
    }
    Ok(())
}

/// A length coded as length + 1, 0 for null: answered as -1 and up.
fn compact_length(from: &mut Rope<'_>) -> Result<i32, Refusal> {
    let coded = from.read_uvarint()?;
    i32::try_from(i64::from(coded) - 1).map_err(|_| Refusal::Truncated)
}

fn sized<'a>(from: &mut Rope<'a>, len: i32) -> Result<Option<Rope<'a>>, Refusal> {
    match len {
        -1 => Ok(None),
        len if len < 0 => Err(Refusal::NegativeLength { len }),
        len => Ok(Some(from.read_slice(len as usize)?)),
    }
}

/// Writing, as methods on the answer's buffer.
pub trait Put {
    fn put_i8(&mut self, value: i8);
    fn put_i16(&mut self, value: i16);
    fn put_i32(&mut self, value: i32);
    fn put_i64(&mut self, value: i64);
    fn put_uvarint(&mut self, value: u32);
    /// The count of an array; None is null.
    fn put_count(&mut self, flexible: bool, count: Option<usize>);
    fn put_string(&mut self, flexible: bool, text: Option<&str>);
    /// Only the length of bytes (or records) that follow from elsewhere; None is null.
    fn put_bytes_length(&mut self, flexible: bool, len: Option<usize>);
    fn put_topic(&mut self, flexible: bool, topic: TopicName<'_>);
    /// No tagged fields, where the version has them at all.
    fn put_no_tags(&mut self, flexible: bool);
}

impl Put for Vec<u8> {
    fn put_i8(&mut self, value: i8) {
        self.push(value as u8);
    }
    fn put_i16(&mut self, value: i16) {
        self.extend_from_slice(&value.to_be_bytes());
    }
    fn put_i32(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }
    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }
    fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
    fn put_count(&mut self, flexible: bool, count: Option<usize>) {
        self.put_bytes_length(flexible, count);
    }
    fn put_string(&mut self, flexible: bool, text: Option<&str>) {
        match (flexible, text) {
            (true, text) => self.put_bytes_length(true, text.map(str::len)),
            (false, None) => self.put_i16(-1),
            (false, Some(text)) => {
                let len = i16::try_from(text.len()).expect("a string of at most 32767 bytes");
                self.put_i16(len);
            }
        }
        self.extend_from_slice(text.unwrap_or("").as_bytes());
    }
    fn put_bytes_length(&mut self, flexible: bool, len: Option<usize>) {
        let len = len.map(|n| i32::try_from(n).expect("a length below 2 GiB"));
        match (flexible, len) {
            (false, len) => self.put_i32(len.unwrap_or(-1)),
            (true, None) => self.push(0),
            (true, Some(n)) => self.put_uvarint(n as u32 + 1),
        }
    }
    fn put_topic(&mut self, flexible: bool, topic: TopicName<'_>) {
        match topic {
            TopicName::Name(name) => self.put_string(flexible, Some(name)),
            TopicName::Id(id) => self.extend_from_slice(&id.0),
        }
    }
    fn put_no_tags(&mut self, flexible: bool) {
        if flexible {
            self.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back() {
        for flexible in [false, true] {
            let mut out = Vec::new();
            out.put_string(flexible, Some("größe"));
            out.put_string(flexible, None);
            out.put_count(flexible, Some(300));
            out.put_count(flexible, None);
            out.put_bytes_length(flexible, Some(2));
            out.extend_from_slice(b"xy");
            let padding = [0; 300];
            let pieces = [&out[..], &padding[..]];
            let mut rope = Rope::new(&pieces);
            let mut scratch = [0; 16];
            assert_eq!(text(string(&mut rope, flexible).unwrap(), &mut scratch), Some("größe"));
            assert!(nullable_string(&mut rope, flexible).unwrap().is_none());
            assert_eq!(count(&mut rope, flexible, 1), Ok(300));
            assert_eq!(count(&mut rope, flexible, 1), Err(Refusal::NullNotAllowed));
            assert_eq!(nullable_bytes(&mut rope, flexible).unwrap().unwrap().contiguous(), Some(&b"xy"[..]));
        }
    }

    #[test]
    fn counts_and_lengths_that_lie_are_refused() {
        let huge = 0x7fff_ffffu32.to_be_bytes();
        assert_eq!(
            nullable_count(&mut Rope::of(&huge), false, 2),
            Err(Refusal::CountBeyondBody { count: 0x7fff_ffff, remaining: 0 })
        );
        assert_eq!(
            nullable_count(&mut Rope::of(&[0xff, 0xff, 0xff, 0xfe]), false, 2),
            Err(Refusal::NegativeLength { len: -2 })
        );
        assert_eq!(string(&mut Rope::of(&[0, 3, 1]), false).unwrap_err(), Refusal::Truncated);
        assert_eq!(string(&mut Rope::of(&[0xff, 0xff]), false).unwrap_err(), Refusal::NullNotAllowed);
        assert_eq!(string(&mut Rope::of(&[0x80, 0]), false).unwrap_err(), Refusal::NegativeLength { len: -32768 });
        assert_eq!(nullable_bytes(&mut Rope::of(&[0xff; 5]), true).unwrap_err(), Refusal::Truncated);
    }

    #[test]
    fn tags_are_capped_and_ordered() {
        assert_eq!(skip_tags(&mut Rope::of(&[33])), Err(Refusal::TooManyTaggedFields { count: 33 }));
        assert_eq!(skip_tags(&mut Rope::of(&[2, 1, 0, 1, 0])), Err(Refusal::TagsOutOfOrder { tag: 1 }));
        assert_eq!(skip_tags(&mut Rope::of(&[1, 0, 5, 1])), Err(Refusal::Truncated));
        assert_eq!(skip_tags(&mut Rope::of(&[2, 0, 1, 7, 9, 0])), Ok(()));
    }

    #[test]
    fn utf8_is_seen_across_pieces() {
        let good = "aé€🦀z".as_bytes();
        for i in 0..=good.len() {
            for j in i..=good.len() {
                let pieces = [&good[..i], &good[i..j], &good[j..]];
                assert!(is_utf8(Rope::new(&pieces)));
            }
            let cut_short = std::str::from_utf8(&good[..i]).is_ok();
            assert_eq!(is_utf8(Rope::new(&[&good[..i / 2], &good[i / 2..i]])), cut_short);
        }
        for bad in [&b"\xc3\x28"[..], b"\xe2\x28\xa1", b"\xf0\x9f\xa6", b"\xff", b"\xc0\x80"] {
            for i in 0..=bad.len() {
                assert!(!is_utf8(Rope::new(&[&bad[..i], &bad[i..]])), "{bad:x?} cut at {i}");
            }
        }
        assert_eq!(text(Rope::new(&[b"ab", b"cd"]), &mut [0; 3]), None);
    }
}
