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
//!        others (KIP-848 members, share groups, ...) are skipped
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
//! Written here: key 1 and 2; offset v3, v1 where the commit asked for its own expiry, v4 where the topic id is known;
//! group v3.

use crate::types::TopicId;
use bytes::Bytes;

/// The longest string that goes into a record.
pub(super) const MAX_STRING: usize = i16::MAX as usize;

/// Why a record could not be taken. The log holds something that neither Kafka nor this coordinator wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// Cut short, a length that lies, or text that is not UTF-8.
    Corrupt { offset: i64 },
    /// A known key with a value version from the future.
    UnknownVersion { offset: i64, version: i16 },
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::Corrupt { offset } => write!(f, "group record at offset {offset} is malformed"),
            ReplayError::UnknownVersion { offset, version } => {
                write!(f, "group record at offset {offset} has unknown value version {version}")
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

/// None for a key version that is not an offset's or a classic group's.
pub fn decode_key(bytes: &[u8]) -> Result<Option<Key>, DecodeError> {
    let mut reader = Reader(bytes);
    match reader.int16()? {
        0 | 1 => {
            let (group, topic) = (reader.string(false)?, reader.string(false)?);
            Ok(Some(Key::Offset { group, topic, partition: reader.int32()? }))
        }
        2 => Ok(Some(Key::Group { group: reader.string(false)? })),
        _ => Ok(None),
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
    let version: i16 = match value.expire_timestamp {
        Some(_) => 1,
        None if value.topic_id.is_zero() => 3,
        None => 4,
    };
    let mut out = Vec::with_capacity(48 + value.metadata.len());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&value.offset.to_be_bytes());
    if version >= 3 {
        out.extend_from_slice(&value.leader_epoch.to_be_bytes());
    }
    if version == 4 {
        put_uvarint(&mut out, value.metadata.len() as u32 + 1);
        out.extend_from_slice(value.metadata.as_bytes());
    } else {
        put_string(&mut out, &value.metadata);
    }
    out.extend_from_slice(&value.commit_timestamp.to_be_bytes());
    if let Some(at) = value.expire_timestamp {
        out.extend_from_slice(&at.to_be_bytes());
    }
    if version == 4 {
        out.extend_from_slice(&[1, 0, 16]);
        out.extend_from_slice(&value.topic_id.0);
    }
    out
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
