//! The walk over a cold request's body before `kafka-protocol` may see it. Not a decoder: it answers the same body again.
//!
//! `kafka-protocol` 0.18 reserves memory for whatever count the wire announces and keeps every unknown tagged field in
//! a map, so four bytes can abort the process and two can cost a thousand. The walk knows each request's
//! layout in each version, checks every length and count against what remains, and writes the body anew: canonical,
//! without tagged fields (no request that comes this way has one that means anything here), nothing after the last field.
//! What it lets through decodes to at most some 40 bytes of memory per byte.
//!
//! Layouts: the request schemas of Kafka 4.2, and of Kafka 3.9 where 4.0 dropped a version. Fields are in order of the wire.

use ringlog_engine::rope::Rope;

use crate::api::{Api, ApiKey, Path};
use crate::refusal::Refusal;
use crate::wire::{self, Put};

/// What a field holds.
#[derive(Debug)]
enum Kind {
    /// So many bytes, any value: integers, booleans, uuids.
    Fixed(usize),
    Text,
    Bytes,
    /// Elements that are one field each, and so have no tags of their own.
    ArrayOf(&'static Field),
    /// Elements that are structures, with tags in flexible versions.
    Structs(&'static [Field]),
    /// One structure or null, told apart by a byte of 1 or -1.
    Optional(&'static [Field]),
}

/// A field and the versions it is in.
#[derive(Debug)]
struct Field {
    kind: Kind,
    from: i16,
    until: i16,
    /// First version in which null is allowed.
    null_from: i16,
}

const fn field(kind: Kind) -> Field {
    Field { kind, from: 0, until: i16::MAX, null_from: i16::MAX }
}

impl Field {
    const fn from(self, from: i16) -> Field {
        Field { from, ..self }
    }
    const fn until(self, until: i16) -> Field {
        Field { until, ..self }
    }
    const fn null(self, null_from: i16) -> Field {
        Field { null_from, ..self }
    }
    fn is_in(&self, version: i16) -> bool {
        (self.from..=self.until).contains(&version)
    }
}

const BOOL: Field = field(Kind::Fixed(1));
const I8: Field = field(Kind::Fixed(1));
const I16: Field = field(Kind::Fixed(2));
const I32: Field = field(Kind::Fixed(4));
const I64: Field = field(Kind::Fixed(8));
const UUID: Field = field(Kind::Fixed(16));
const TEXT: Field = field(Kind::Text);
const BYTES: Field = field(Kind::Bytes);
const TEXTS: Field = field(Kind::ArrayOf(&TEXT));
const I32S: Field = field(Kind::ArrayOf(&I32));
const I8S: Field = field(Kind::ArrayOf(&I8));

const fn structs(fields: &'static [Field]) -> Field {
    field(Kind::Structs(fields))
}

const LIST_OFFSETS: &[Field] =
    &[I32, I8.from(2), structs(&[TEXT, structs(&[I32, I32.from(4), I64, I32.until(0)])]), I32.from(10)];
const METADATA: &[Field] =
    &[structs(&[UUID.from(10), TEXT.null(10)]).null(1), BOOL.from(4), BOOL.from(8).until(10), BOOL.from(8)];
const OFFSET_COMMIT: &[Field] = &[
    TEXT,
    I32,
    TEXT,
    TEXT.from(7).null(7),
    I64.from(2).until(4),
    structs(&[TEXT.until(9), UUID.from(10), structs(&[I32, I64, I32.from(6), I64.from(1).until(1), TEXT.null(0)])]),
];
const OFFSET_FETCH: &[Field] = &[
    TEXT.until(7),
    structs(&[TEXT, I32S]).until(7).null(2),
    structs(&[TEXT, TEXT.from(9).null(9), I32.from(9), structs(&[TEXT.until(9), UUID.from(10), I32S]).null(8)]).from(8),
    BOOL.from(7),
];
const FIND_COORDINATOR: &[Field] = &[TEXT.until(3), I8.from(1), TEXTS.from(4)];
const JOIN_GROUP: &[Field] =
    &[TEXT, I32, I32.from(1), TEXT, TEXT.from(5).null(5), TEXT, structs(&[TEXT, BYTES]), TEXT.from(8).null(8)];
const HEARTBEAT: &[Field] = &[TEXT, I32, TEXT, TEXT.from(3).null(3)];
const LEAVE_GROUP: &[Field] = &[TEXT, TEXT.until(2), structs(&[TEXT, TEXT.null(3), TEXT.from(5).null(5)]).from(3)];
const SYNC_GROUP: &[Field] =
    &[TEXT, I32, TEXT, TEXT.from(3).null(3), TEXT.from(5).null(5), TEXT.from(5).null(5), structs(&[TEXT, BYTES])];
const DESCRIBE_GROUPS: &[Field] = &[TEXTS, BOOL.from(3)];
const LIST_GROUPS: &[Field] = &[TEXTS.from(4), TEXTS.from(5)];
const API_VERSIONS: &[Field] = &[TEXT.from(3), TEXT.from(3)];
const CREATE_TOPICS: &[Field] =
    &[structs(&[TEXT, I32, I16, structs(&[I32, I32S]), structs(&[TEXT, TEXT.null(0)])]), I32, BOOL.from(1)];
const DELETE_TOPICS: &[Field] = &[structs(&[TEXT.null(6), UUID]).from(6), TEXTS.until(5), I32];
const DELETE_RECORDS: &[Field] = &[structs(&[TEXT, structs(&[I32, I64])]), I32];
const INIT_PRODUCER_ID: &[Field] = &[TEXT.null(0), I32, I64.from(3), I16.from(3)];
const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[I32.from(3), structs(&[TEXT, structs(&[I32, I32.from(2), I32])])];
const DESCRIBE_CONFIGS: &[Field] = &[structs(&[I8, TEXT, TEXTS.null(0)]), BOOL.from(1), BOOL.from(3)];
const ALTER_CONFIGS: &[Field] = &[structs(&[I8, TEXT, structs(&[TEXT, TEXT.null(0)])]), BOOL];
const DESCRIBE_LOG_DIRS: &[Field] = &[structs(&[TEXT, I32S]).null(0)];
const CREATE_PARTITIONS: &[Field] = &[structs(&[TEXT, I32, structs(&[I32S]).null(0)]), I32, BOOL];
const DELETE_GROUPS: &[Field] = &[TEXTS];
const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[structs(&[I8, TEXT, structs(&[TEXT, I8, TEXT.null(0)])]), BOOL];
const OFFSET_DELETE: &[Field] = &[TEXT, structs(&[TEXT, structs(&[I32])])];
const DESCRIBE_CLUSTER: &[Field] = &[BOOL, I8.from(1), BOOL.from(2)];
const DESCRIBE_PRODUCERS: &[Field] = &[structs(&[TEXT, I32S])];
const LIST_CONFIG_RESOURCES: &[Field] = &[I8S.from(1)];
const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[structs(&[TEXT]), I32, field(Kind::Optional(&[TEXT, I32]))];

const fn layout(key: ApiKey) -> &'static [Field] {
    match key {
        ApiKey::Produce | ApiKey::Fetch => &[],
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => HEARTBEAT,
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::ListGroups => LIST_GROUPS,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::DeleteRecords => DELETE_RECORDS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => ALTER_CONFIGS,
        ApiKey::DescribeLogDirs => DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => CREATE_PARTITIONS,
        ApiKey::DeleteGroups => DELETE_GROUPS,
        ApiKey::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS,
        ApiKey::OffsetDelete => OFFSET_DELETE,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        ApiKey::DescribeProducers => DESCRIBE_PRODUCERS,
        ApiKey::ListConfigResources => LIST_CONFIG_RESOURCES,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
    }
}

/// The body of a cold request, walked and written anew. Nothing else makes one, so nothing unchecked is decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    pub(crate) body: Vec<u8>,
}

/// Walks the body of a cold API in a served version. Allocates the body's length once.
pub fn admit(api: &Api, version: i16, body: Rope<'_>) -> Result<Admitted, Refusal> {
    assert_eq!(api.path, Path::Cold, "{} has views of its own", api.name);
    if !api.serves(version) {
        return Err(Refusal::UnsupportedVersion { key: api.key as i16, version });
    }
    let flexible = api.is_flexible(version);
    let mut walk = Walk { left: body, version, flexible, out: Vec::with_capacity(body.len()) };
    walk.structure(layout(api.key))?;
    // What follows the last field is ignored, as Kafka does: librdkafka sends such bytes in some Metadata requests.
    Ok(Admitted { body: walk.out })
}

/// Depth is that of the layouts above, at most four: the recursion is bounded by them, not by the peer.
struct Walk<'a> {
    left: Rope<'a>,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &'static [Field]) -> Result<(), Refusal> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.field(field)?;
        }
        if self.flexible {
            wire::skip_tags(&mut self.left)?;
        }
        self.out.put_no_tags(self.flexible);
        Ok(())
    }

    fn field(&mut self, field: &'static Field) -> Result<(), Refusal> {
        let nullable = self.version >= field.null_from;
        match &field.kind {
            Kind::Fixed(len) => self.left.read_slice(*len)?.append_to(&mut self.out),
            Kind::Text => self.text(nullable)?,
            Kind::Bytes => self.bytes(nullable)?,
            Kind::ArrayOf(item) => {
                for _ in 0..self.count(self.least(item), nullable)? {
                    self.field(item)?;
                }
            }
            Kind::Structs(fields) => {
                for _ in 0..self.count(self.least_structure(fields), nullable)? {
                    self.structure(fields)?;
                }
            }
            Kind::Optional(fields) => {
                let present = self.left.read_i8()? == 1;
                self.out.put_i8(if present { 1 } else { -1 });
                if present {
                    self.structure(fields)?;
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, nullable: bool) -> Result<(), Refusal> {
        let text = wire::nullable_string(&mut self.left, self.flexible)?;
        let Some(text) = text else {
            self.null_allowed(nullable)?;
            self.out.put_string(self.flexible, None);
            return Ok(());
        };
        if !wire::is_utf8(text) {
            return Err(Refusal::NotUtf8);
        }
        if self.flexible {
            self.out.put_bytes_length(true, Some(text.len()));
        } else {
            self.out.put_i16(text.len() as i16);
        }
        text.append_to(&mut self.out);
        Ok(())
    }

    fn bytes(&mut self, nullable: bool) -> Result<(), Refusal> {
        let bytes = wire::nullable_bytes(&mut self.left, self.flexible)?;
        self.out.put_bytes_length(self.flexible, bytes.map(|b| b.len()));
        match bytes {
            Some(bytes) => bytes.append_to(&mut self.out),
            None => self.null_allowed(nullable)?,
        }
        Ok(())
    }

    /// The number of elements to walk, none for an allowed null.
    fn count(&mut self, least: usize, nullable: bool) -> Result<usize, Refusal> {
        let count = wire::nullable_count(&mut self.left, self.flexible, least)?;
        if count.is_none() {
            self.null_allowed(nullable)?;
        }
        self.out.put_count(self.flexible, count);
        Ok(count.unwrap_or(0))
    }

    fn null_allowed(&self, nullable: bool) -> Result<(), Refusal> {
        if nullable { Ok(()) } else { Err(Refusal::NullNotAllowed) }
    }

    /// Fewest bytes a field can take, at least 1.
    fn least(&self, field: &Field) -> usize {
        match field.kind {
            Kind::Fixed(len) => len,
            Kind::Optional(_) => 1,
            _ if self.flexible => 1,
            Kind::Text => 2,
            Kind::Bytes | Kind::ArrayOf(_) | Kind::Structs(_) => 4,
        }
    }

    fn least_structure(&self, fields: &[Field]) -> usize {
        let present = fields.iter().filter(|field| field.is_in(self.version));
        present.map(|field| self.least(field)).sum::<usize>() + usize::from(self.flexible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::APIS;

    fn walk(key: ApiKey, version: i16, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        admit(key.row(), version, Rope::of(body)).map(|admitted| admitted.body)
    }

    #[test]
    fn the_four_bytes_that_abort_kafka_protocol_are_refused() {
        let refused = Refusal::CountBeyondBody { count: 0x7fff_ffff, remaining: 0 };
        assert_eq!(walk(ApiKey::Metadata, 1, &[0x7f, 0xff, 0xff, 0xff]), Err(refused));
        assert!(walk(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0]).is_err());
    }

    #[test]
    fn nulls_follow_the_version() {
        let null = [0xff, 0xff, 0xff, 0xff];
        assert_eq!(walk(ApiKey::Metadata, 0, &null), Err(Refusal::NullNotAllowed));
        assert_eq!(walk(ApiKey::Metadata, 1, &null), Ok(null.to_vec()));
        let none_asked = [0, 1, b'g', 0xff, 0xff, 0xff, 0xff];
        assert_eq!(walk(ApiKey::OffsetFetch, 1, &none_asked), Err(Refusal::NullNotAllowed));
        assert_eq!(walk(ApiKey::OffsetFetch, 2, &none_asked), Ok(none_asked.to_vec()));
    }

    #[test]
    fn tagged_fields_are_dropped_and_varints_shortened() {
        let body = [0x82, 0x00, 2, b't', 1, 9, 1, b'x', 1, 0, 2, 5, 0, 6, 2, b'a', b'b'];
        assert_eq!(walk(ApiKey::Metadata, 9, &body), Err(Refusal::Truncated));
        let body = [0x82, 0x00, 2, b't', 1, 9, 1, b'x', 1, 0, 0, 2, 5, 0, 6, 2, b'a', b'b'];
        assert_eq!(walk(ApiKey::Metadata, 9, &body), Ok(vec![2, 2, b't', 0, 1, 0, 0, 0]));
    }

    #[test]
    fn trailing_bytes_are_ignored_and_bad_text_is_refused() {
        let plain = walk(ApiKey::Heartbeat, 0, b"\0\x01g\0\0\0\x01\0\x01m");
        assert_eq!(walk(ApiKey::Heartbeat, 0, b"\0\x01g\0\0\0\x01\0\x01m!"), plain);
        assert_eq!(walk(ApiKey::Heartbeat, 0, b"\0\x01\xff\0\0\0\x01\0\x01m"), Err(Refusal::NotUtf8));
        assert_eq!(walk(ApiKey::OffsetCommit, 0, b""), Err(Refusal::UnsupportedVersion { key: 8, version: 0 }));
    }

    #[test]
    fn elements_take_at_least_a_byte() {
        for api in APIS.iter().filter(|api| api.path == Path::Cold) {
            for version in api.min..=api.max {
                let flexible = api.is_flexible(version);
                let walk = Walk { left: Rope::of(&[]), version, flexible, out: Vec::new() };
                for field in layout(api.key) {
                    assert!(walk.least(field) >= 1);
                    if let Kind::Structs(fields) = &field.kind {
                        assert!(walk.least_structure(fields) >= 1, "{} {version}", api.name);
                    }
                }
            }
        }
    }
}
