//! The records of `__consumer_offsets`, byte by byte, in Kafka's own schemas: what tools that read the topic decode.
//! Not the state: this only turns bytes into plain values and back.
//!
//! All numbers are big-endian. `string` is an int16 length and UTF-8 bytes, -1 being null where it may be;
//! `bytes` an int32 length and bytes; an array an int32 count and its elements.
//!
//! ```text
//! key    int16 version
//!        0, 1  an offset:   string group, string topic, int32 partition      (0 is of before Kafka 0.9, the same bytes)
//!        2     a group:     string group
//!        others (KIP-848 members, share groups, ...) are refused: a newer release wrote them
//! offset int16 version 0..4
//!        int64 offset, [v3+: int32 leader epoch], string metadata, int64 commit time, [v1: int64 expiry time]
//!        v4 is flexible: compact string, and tagged fields, of which 0 is the topic id (16 bytes)
//! group  int16 version 0..4
//!        string protocol type, int32 generation, string? protocol, string? leader,
//!        [v2+: int64 time of the last change of state], members[]:
//!          string member id, [v3+: string? instance id], string client id, string client host,
//!          [v1+: int32 rebalance timeout], int32 session timeout, bytes subscription, bytes assignment
//!        v4 is flexible: compact strings, bytes and arrays, tagged fields after each member and at the end
//! ```
//! Compact means: an unsigned varint that is the length plus one, 0 being null. A null value is a tombstone.
//! Written here, as by Kafka 4.2: key 1 and 2; offset v4, or v1 where the commit asked for its own expiry; group v3.

use crate::types::TopicId;
use bytes::Bytes;

/// The longest string that goes into a record.
pub(super) const MAX_STRING: usize = i16::MAX as usize;

/// Why a record could not be taken. The log holds something that neither Kafka nor this coordinator wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// Cut short, a length that lies, or text that is not UTF-8.
    Corrupt { offset: i64 },
    /// A key or a value of a version from the future.
    UnknownVersion { offset: i64, version: i16 },
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::Corrupt { offset } => write!(f, "group record at offset {offset} is malformed"),
            ReplayError::UnknownVersion { offset, version } => {
                write!(
                    f,
                    "group record at offset {offset} has version {version}: start the newer release that wrote it"
                )
            }
        }
    }
}

/// Malformed, or a version nobody defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    Malformed,
    Version(i16),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    Offset { group: String, topic: String, partition: i32 },
    Group { group: String },
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetValue {
    pub offset: i64,
    /// -1 where the consumer did not say.
    pub leader_epoch: i32,
    pub metadata: Box<str>,
    /// Wall clock, milliseconds.
    pub commit_timestamp: i64,
    /// Only where the commit carried its own retention (OffsetCommit v2 to v4).
    pub expire_timestamp: Option<i64>,
    /// ZERO where not known.
    pub topic_id: TopicId,
}

/// A group as of its last completed (or emptied) generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupValue {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// Wall clock, milliseconds; -1 before v2.
    pub state_timestamp: i64,
    pub members: Vec<MemberValue>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberValue {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// Of the chosen protocol only.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Walks a byte slice; every getter fails at its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    fn int16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::Malformed);
            }
        }
        Err(DecodeError::Malformed)
    }

    /// A length in either form; None is null.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.int32()?),
            (false, false) => i64::from(self.int16()?),
        };
        match length {
            -1 => Ok(None),
            0.. => usize::try_from(length).map(Some).map_err(|_| DecodeError::Malformed),
            _ => Err(DecodeError::Malformed),
        }
    }

    fn text(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        match self.length(flexible, false)? {
            None => Ok(None),
            // What is read may have to be written again, in the older form.
            Some(length) if length > MAX_STRING => Err(DecodeError::Malformed),
            Some(length) => std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| DecodeError::Malformed),
        }
    }

    fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        self.text(flexible)?.map(str::to_string).ok_or(DecodeError::Malformed)
    }

    fn nullable(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        Ok(self.text(flexible)?.map(str::to_string))
    }

    fn bytes(&mut self, flexible: bool) -> Result<Bytes, DecodeError> {
        let length = self.length(flexible, true)?.ok_or(DecodeError::Malformed)?;
        self.take(length).map(Bytes::copy_from_slice)
    }

    /// The tagged fields that end a flexible structure: each tag with its bytes.
    fn tagged(&mut self, mut field: impl FnMut(u32, &'a [u8])) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            field(tag, self.take(length)?);
        }
        Ok(())
    }
}

pub fn decode_key(bytes: &[u8]) -> Result<Key, DecodeError> {
    let mut reader = Reader(bytes);
    match reader.int16()? {
        0 | 1 => {
            let (group, topic) = (reader.string(false)?, reader.string(false)?);
            Ok(Key::Offset { group, topic, partition: reader.int32()? })
        }
        2 => Ok(Key::Group { group: reader.string(false)? }),
        version => Err(DecodeError::Version(version)),
    }
}

pub fn decode_offset(bytes: &[u8]) -> Result<OffsetValue, DecodeError> {
    let mut reader = Reader(bytes);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let offset = reader.int64()?;
    let leader_epoch = if version >= 3 { reader.int32()? } else { -1 };
    let metadata = reader.string(version >= 4)?.into_boxed_str();
    let commit_timestamp = reader.int64()?;
    let expire_timestamp = if version == 1 { Some(reader.int64()?).filter(|at| *at >= 0) } else { None };
    let mut topic_id = TopicId::ZERO;
    if version >= 4 {
        reader.tagged(|tag, bytes| {
            if let (0, Ok(id)) = (tag, bytes.try_into()) {
                topic_id = TopicId(id);
            }
        })?;
    }
    Ok(OffsetValue { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id })
}

pub fn decode_group(bytes: &[u8]) -> Result<GroupValue, DecodeError> {
    let mut reader = Reader(bytes);
    let version = reader.int16()?;
    if !(0..=4).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let flexible = version >= 4;
    let protocol_type = reader.string(flexible)?;
    let generation = reader.int32()?;
    let protocol = reader.nullable(flexible)?;
    let leader = reader.nullable(flexible)?;
    let state_timestamp = if version >= 2 { reader.int64()? } else { -1 };
    let count = reader.length(flexible, true)?.ok_or(DecodeError::Malformed)?;
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(decode_member(&mut reader, version)?);
    }
    if flexible {
        reader.tagged(|_, _| ())?;
    }
    Ok(GroupValue { protocol_type, generation, protocol, leader, state_timestamp, members })
}

fn decode_member(reader: &mut Reader<'_>, version: i16) -> Result<MemberValue, DecodeError> {
    let flexible = version >= 4;
    let member_id = reader.string(flexible)?;
    let group_instance_id = if version >= 3 { reader.nullable(flexible)? } else { None };
    let client_id = reader.string(flexible)?;
    let client_host = reader.string(flexible)?;
    let rebalance = if version >= 1 { Some(reader.int32()?) } else { None };
    let session_timeout_ms = reader.int32()?;
    let rebalance_timeout_ms = rebalance.unwrap_or(session_timeout_ms);
    let (subscription, assignment) = (reader.bytes(flexible)?, reader.bytes(flexible)?);
    if flexible {
        reader.tagged(|_, _| ())?;
    }
    Ok(MemberValue {
        member_id,
        group_instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    })
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() <= MAX_STRING, "a string of {} bytes was let into a group record", text.len());
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_nullable(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() <= i32::MAX as usize, "{} bytes were let into a group record", bytes.len());
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn encode_offset_key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + group.len() + topic.len());
    out.extend_from_slice(&1i16.to_be_bytes());
    put_string(&mut out, group);
    put_string(&mut out, topic);
    out.extend_from_slice(&partition.to_be_bytes());
    out
}

pub fn encode_group_key(group: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + group.len());
    out.extend_from_slice(&2i16.to_be_bytes());
    put_string(&mut out, group);
    out
}

pub fn encode_offset(value: &OffsetValue) -> Vec<u8> {
    let version: i16 = if value.expire_timestamp.is_some() { 1 } else { 4 };
    let mut out = Vec::with_capacity(48 + value.metadata.len());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&value.offset.to_be_bytes());
    match value.expire_timestamp {
        Some(at) => {
            put_string(&mut out, &value.metadata);
            out.extend_from_slice(&value.commit_timestamp.to_be_bytes());
            out.extend_from_slice(&at.to_be_bytes());
        }
        None => {
            out.extend_from_slice(&value.leader_epoch.to_be_bytes());
            put_uvarint(&mut out, value.metadata.len() as u32 + 1);
            out.extend_from_slice(value.metadata.as_bytes());
            out.extend_from_slice(&value.commit_timestamp.to_be_bytes());
            put_tagged_topic_id(&mut out, value.topic_id);
        }
    }
    out
}

/// The tagged fields of a flexible offset value.
fn put_tagged_topic_id(out: &mut Vec<u8>, id: TopicId) {
    if id.is_zero() {
        out.push(0);
    } else {
        out.extend_from_slice(&[1, 0, 16]);
        out.extend_from_slice(&id.0);
    }
}

pub fn encode_group(value: &GroupValue) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&3i16.to_be_bytes());
    put_string(&mut out, &value.protocol_type);
    out.extend_from_slice(&value.generation.to_be_bytes());
    put_nullable(&mut out, value.protocol.as_deref());
    put_nullable(&mut out, value.leader.as_deref());
    out.extend_from_slice(&value.state_timestamp.to_be_bytes());
    assert!(value.members.len() <= i32::MAX as usize, "{} members in one group record", value.members.len());
    out.extend_from_slice(&(value.members.len() as i32).to_be_bytes());
    for member in &value.members {
        put_string(&mut out, &member.member_id);
        put_nullable(&mut out, member.group_instance_id.as_deref());
        put_string(&mut out, &member.client_id);
        put_string(&mut out, &member.client_host);
        out.extend_from_slice(&member.rebalance_timeout_ms.to_be_bytes());
        out.extend_from_slice(&member.session_timeout_ms.to_be_bytes());
        put_bytes(&mut out, &member.subscription);
        put_bytes(&mut out, &member.assignment);
    }
    out
}

/// The topics of a consumer's subscription (`ConsumerProtocolSubscription`: int16 version, string[] topics, ...);
/// None where the bytes are something else.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut reader = Reader(metadata);
    if reader.int16().ok()? < 0 {
        return None;
    }
    let count = reader.int32().ok().filter(|count| *count >= 0)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(reader.text(false).ok()??);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |c: u8| (c as char).to_digit(16).expect("a hex digit") as u8;
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// What Kafka 4.2 wrote for a static consumer "i" of client "c" in group "g" reading topic "t".
    const GROUP_KEY: &str = "0002000167";
    const GROUP_VALUE: &str = concat!(
        "00030008636f6e73756d657200000001000572616e67650026692d66336236306537312d313461632d343036652d383232312d39633665",
        "6538363437396166000001a2097167d7000000010026692d66336236306537312d313461632d343036652d383232312d39633665653836",
        "3437396166000169000163000a2f3132372e302e302e31000493e00000afc800000017000300000001000174ffffffff00000000ffffff",
        "ffffff000000150003000000010001740000000100000000ffffffff"
    );
    const EMPTY_GROUP_VALUE: &str = "00030008636f6e73756d657200000002ffffffff000001a209716e2500000000";
    const OFFSET_KEY: &str = "000100016700017400000000";
    const OFFSET_VALUE: &str = "0004000000000000002a00000003026d000001a209716d3700";

    #[test]
    fn a_group_of_kafka_reads_and_writes_back_the_same() {
        assert_eq!(decode_key(&hex(GROUP_KEY)), Ok(Key::Group { group: "g".into() }));
        assert_eq!(encode_group_key("g"), hex(GROUP_KEY));
        let value = decode_group(&hex(GROUP_VALUE)).expect("Kafka's own bytes");
        assert_eq!((value.protocol_type.as_str(), value.generation), ("consumer", 1));
        assert_eq!(value.protocol.as_deref(), Some("range"));
        assert_eq!(value.leader.as_deref(), Some("i-f3b60e71-14ac-406e-8221-9c6ee86479af"));
        let member = &value.members[0];
        assert_eq!(member.group_instance_id.as_deref(), Some("i"));
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
        assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (300_000, 45_000));
        assert_eq!(subscribed_topics(&member.subscription), Some(vec!["t"]));
        assert_eq!(encode_group(&value), hex(GROUP_VALUE));
        let empty = decode_group(&hex(EMPTY_GROUP_VALUE)).expect("Kafka's own bytes");
        assert_eq!((empty.generation, &empty.protocol, &empty.leader, empty.members.len()), (2, &None, &None, 0));
        assert_eq!(encode_group(&empty), hex(EMPTY_GROUP_VALUE));
    }

    #[test]
    fn an_offset_of_kafka_reads_and_writes_back_the_same() {
        let key = Key::Offset { group: "g".into(), topic: "t".into(), partition: 0 };
        assert_eq!(decode_key(&hex(OFFSET_KEY)), Ok(key));
        assert_eq!(encode_offset_key("g", "t", 0), hex(OFFSET_KEY));
        let value = decode_offset(&hex(OFFSET_VALUE)).expect("Kafka's own bytes");
        assert_eq!((value.offset, value.leader_epoch, &*value.metadata), (42, 3, "m"));
        assert_eq!((value.commit_timestamp, value.expire_timestamp), (0x1a209716d37, None));
        assert_eq!(encode_offset(&value), hex(OFFSET_VALUE));
        let with_id = OffsetValue { topic_id: TopicId([7; 16]), ..value.clone() };
        assert_eq!(decode_offset(&encode_offset(&with_id)), Ok(with_id));
        let with_end = OffsetValue { expire_timestamp: Some(99), leader_epoch: -1, ..value };
        assert_eq!(decode_offset(&encode_offset(&with_end)), Ok(with_end));
    }

    #[test]
    fn older_versions_read() {
        let v0 = hex("0000000000000000002a00016d0000000000000063");
        let v1 = hex("0001000000000000002a00016d00000000000000630000000000000064");
        let v2 = hex("0002000000000000002a00016d0000000000000063");
        let v3 = hex("0003000000000000002a0000000500016d0000000000000063");
        let expected = OffsetValue {
            offset: 42,
            leader_epoch: -1,
            metadata: "m".into(),
            commit_timestamp: 99,
            expire_timestamp: None,
            topic_id: TopicId::ZERO,
        };
        assert_eq!(decode_offset(&v0), Ok(expected.clone()));
        assert_eq!(decode_offset(&v1), Ok(OffsetValue { expire_timestamp: Some(100), ..expected.clone() }));
        assert_eq!(decode_offset(&v2), Ok(expected.clone()));
        assert_eq!(decode_offset(&v3), Ok(OffsetValue { leader_epoch: 5, ..expected }));
        // Group v0: no timestamp, no rebalance timeout, no instance id. v4: the same in compact form.
        let v0 = hex("00000001780000000500017000016d00000001 00016d0001630001680000000a00000001aa00000001bb"
            .replace(' ', "")
            .as_str());
        let v4 = hex("00040278000000050270026d000000000000000702026d000263026800000014 0000000a02aa02bb0000"
            .replace(' ', "")
            .as_str());
        let (v0, v4) = (decode_group(&v0).expect("v0"), decode_group(&v4).expect("v4"));
        assert_eq!((v0.generation, v0.state_timestamp, v0.members[0].rebalance_timeout_ms), (5, -1, 10));
        assert_eq!((v4.generation, v4.state_timestamp, v4.members[0].rebalance_timeout_ms), (5, 7, 20));
        assert_eq!(v0.members[0].assignment, v4.members[0].assignment);
        assert_eq!((&v0.protocol, &v0.leader), (&v4.protocol, &v4.leader));
    }

    #[test]
    fn later_keys_and_values_are_refused() {
        assert_eq!(decode_key(&hex("0003000167")), Err(DecodeError::Version(3)));
        assert_eq!(decode_key(&hex("00")), Err(DecodeError::Malformed));
        assert_eq!(decode_offset(&hex("0005")), Err(DecodeError::Version(5)));
        assert_eq!(decode_group(&hex("ffff")), Err(DecodeError::Version(-1)));
        let long =
            [&hex("000400000000000000000000000081 8002".replace(' ', "").as_str())[..], &[b'x'; 0x8000], &[0; 9]]
                .concat();
        assert_eq!(decode_offset(&long), Err(DecodeError::Malformed));
        assert_eq!(subscribed_topics(&hex("ffff00000000")), None);
        assert_eq!(subscribed_topics(&hex("00007fffffff")), None);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_an_error_or_a_value() {
        let v4 = "00040278000000050270026d000000000000000702026d0002630268000000140000000a02aa02bb0000";
        for text in [GROUP_VALUE, EMPTY_GROUP_VALUE, OFFSET_VALUE, v4] {
            let whole = hex(text);
            for cut in 0..whole.len() {
                assert!(decode_group(&whole[..cut]).is_err(), "a group cut at {cut}");
            }
            for at in 0..whole.len() {
                for byte in 0..=255 {
                    let mut changed = whole.clone();
                    changed[at] = byte;
                    if let Ok(value) = decode_group(&changed) {
                        assert!(value.members.len() <= changed.len());
                        assert_eq!(decode_group(&encode_group(&value)), Ok(value));
                    }
                    if let Ok(value) = decode_offset(&changed) {
                        assert!(value.metadata.len() <= changed.len());
                    }
                }
            }
        }
    }
}
