//! The entries of the metadata log and their bytes. What they do to an image is in `image`.
//!
//! Layout of one encoded entry: one byte, the format version ([`FORMAT`]); then the `rkyv` 0.8 archive of [`Entry`]
//! (little endian, 32-bit relative pointers, 16-byte aligned from its own start, root object last). Framing, checksum
//! and position belong to the log that holds it. An entry states facts only of the cluster, none of the reader's clock,
//! disks or position, so that every replica applies it alike.
//!
//! The enum is closed: a change of any entry, or a new one, is a new format version with a reader beside
//! this one.

use std::fmt;

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::limits::METADATA_ENTRY_BYTES;

/// The format version this code writes.
pub const FORMAT: u8 = 1;

/// One partition, as an entry states it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionRow {
    /// The log directory it is placed in.
    pub dir: [u8; 16],
    pub leader_epoch: i32,
}

/// One explicit setting.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub name: String,
    pub value: String,
}

/// One change of the metadata.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// First of every log. The id is Kafka's: 16 bytes in base64url.
    ClusterCreated {
        cluster_id: String,
        node_id: i32,
    },
    /// Partition numbers are the places in the list.
    TopicCreated {
        name: String,
        id: [u8; 16],
        internal: bool,
        partitions: Vec<PartitionRow>,
        configs: Vec<Setting>,
    },
    TopicDeleted {
        id: [u8; 16],
    },
    /// `first` is the number of the first new one: what the topic had.
    PartitionsAdded {
        id: [u8; 16],
        first: i32,
        partitions: Vec<PartitionRow>,
    },
    /// All explicit settings of the topic, in order of their names.
    TopicConfigChanged {
        id: [u8; 16],
        configs: Vec<Setting>,
    },
    /// All dynamic settings of this broker, or with none, the defaults of all.
    BrokerConfigChanged {
        broker: Option<i32>,
        configs: Vec<Setting>,
    },
    /// Every id below this one is given out or lost.
    ProducerIdsReserved {
        next: i64,
    },
    /// New leader epochs of these partitions, each higher than before.
    LeaderEpochsRaised {
        id: [u8; 16],
        epochs: Vec<(i32, i32)>,
    },
    /// What follows, up to `SnapshotEnded`, is an image of this revision.
    SnapshotBegun {
        revision: u64,
    },
    /// Nothing is missing from the snapshot if these counts are met.
    SnapshotEnded {
        topics: u32,
        partitions: u32,
    },
}

/// Why bytes are no entry, or an entry gives no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryError {
    /// Written by a newer release (or never).
    UnknownFormat(u8),
    /// Not what any release wrote.
    Invalid,
    /// More than `METADATA_ENTRY_BYTES`; so many.
    TooLarge(usize),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::UnknownFormat(version) => {
                write!(
                    f,
                    "metadata format {version}; this release reads up to {FORMAT}: start the newer release that wrote it"
                )
            }
            EntryError::Invalid => write!(f, "the bytes are not a metadata entry"),
            EntryError::TooLarge(bytes) => {
                write!(f, "a metadata entry of {bytes} bytes; at most {METADATA_ENTRY_BYTES} are kept")
            }
        }
    }
}

impl Entry {
    /// Appends the entry's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(self).map_err(|_| EntryError::Invalid)?;
        if archive.len() + 1 > METADATA_ENTRY_BYTES {
            return Err(EntryError::TooLarge(archive.len() + 1));
        }
        out.push(FORMAT);
        out.extend_from_slice(&archive);
        Ok(())
    }

    /// Reads one entry; every pointer, length and string in it is checked first.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        if bytes.len() > METADATA_ENTRY_BYTES {
            return Err(EntryError::TooLarge(bytes.len()));
        }
        let (version, archive) = bytes.split_first().ok_or(EntryError::Invalid)?;
        if *version != FORMAT {
            return Err(EntryError::UnknownFormat(*version));
        }
        let mut aligned = AlignedVec::<16>::with_capacity(archive.len());
        aligned.extend_from_slice(archive);
        rkyv::from_bytes::<Entry, rkyv::rancor::Error>(&aligned).map_err(|_| EntryError::Invalid)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of each, for the tests of this module and of the image.
    pub(crate) fn samples() -> Vec<Entry> {
        let settings = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| Setting { name: n.to_string(), value: v.to_string() }).collect::<Vec<_>>()
        };
        let row = |dir: u8, leader_epoch| PartitionRow { dir: [dir; 16], leader_epoch };
        let id = [7; 16];
        vec![
            Entry::ClusterCreated { cluster_id: "oWAwQSZMRPmz2dFEOq3-ZQ".into(), node_id: 1 },
            Entry::TopicCreated {
                name: "orders.eu".into(),
                id,
                internal: false,
                partitions: vec![row(1, 0), row(2, 0)],
                configs: settings(&[("cleanup.policy", "compact"), ("retention.ms", "1000")]),
            },
            Entry::PartitionsAdded { id, first: 2, partitions: vec![row(1, 3)] },
            Entry::TopicConfigChanged { id, configs: settings(&[("retention.ms", "2000")]) },
            Entry::BrokerConfigChanged { broker: None, configs: settings(&[("log.retention.ms", "5")]) },
            Entry::BrokerConfigChanged { broker: Some(1), configs: vec![] },
            Entry::ProducerIdsReserved { next: 1000 },
            Entry::LeaderEpochsRaised { id, epochs: vec![(0, 1), (2, 4)] },
            Entry::TopicDeleted { id },
            Entry::SnapshotBegun { revision: 9 },
            Entry::SnapshotEnded { topics: 0, partitions: 0 },
        ]
    }

    fn bytes(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.encode(&mut out).unwrap();
        out
    }

    /// The bytes of format 1 as they were first written, in hexadecimal, one entry a line in the order of `samples`.
    const GOLDEN_V1: &str = include_str!("golden_v1.hex");

    #[test]
    fn format_1_is_written_and_read_as_ever() {
        let written: Vec<String> = samples().iter().map(|entry| hex(&bytes(entry))).collect();
        assert_eq!(written, GOLDEN_V1.lines().collect::<Vec<_>>());
        for (line, entry) in GOLDEN_V1.lines().zip(samples()) {
            assert_eq!(Entry::decode(&unhex(line)), Ok(entry));
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let mut newer = bytes(&samples()[0]);
        newer[0] = 2;
        assert_eq!(Entry::decode(&newer), Err(EntryError::UnknownFormat(2)));
        assert_eq!(Entry::decode(&[]), Err(EntryError::Invalid));
        assert_eq!(Entry::decode(&[FORMAT]), Err(EntryError::Invalid));
        let long = vec![FORMAT; METADATA_ENTRY_BYTES + 1];
        assert_eq!(Entry::decode(&long), Err(EntryError::TooLarge(METADATA_ENTRY_BYTES + 1)));
    }

    /// Any damage gives an error or some other valid entry, never a panic. The log's checksum catches what is left.
    #[test]
    fn damaged_bytes_never_panic() {
        let mut refused = 0;
        for entry in samples() {
            let good = bytes(&entry);
            for cut in 0..good.len() {
                assert_ne!(Entry::decode(&good[..cut]), Ok(entry.clone()), "cut at {cut}");
            }
            for at in 0..good.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut bad = good.clone();
                    bad[at] ^= flip;
                    refused += usize::from(Entry::decode(&bad).is_err());
                }
            }
        }
        assert!(refused > 100, "only {refused} damaged entries were refused");
    }

    #[test]
    fn the_largest_creation_fits_an_entry() {
        use crate::limits::{CONFIG_BYTES, PARTITIONS_PER_REQUEST, TOPIC_NAME_BYTES};
        let entry = Entry::TopicCreated {
            name: "n".repeat(TOPIC_NAME_BYTES),
            id: [1; 16],
            internal: false,
            partitions: vec![PartitionRow { dir: [1; 16], leader_epoch: 0 }; PARTITIONS_PER_REQUEST],
            configs: vec![Setting { name: "x".into(), value: "y".repeat(CONFIG_BYTES) }],
        };
        let encoded = bytes(&entry);
        assert!(encoded.len() <= METADATA_ENTRY_BYTES, "{}", encoded.len());
        assert_eq!(Entry::decode(&encoded), Ok(entry));
        let configs = vec![Setting { name: "x".into(), value: "y".repeat(METADATA_ENTRY_BYTES) }];
        let too_large = Entry::BrokerConfigChanged { broker: None, configs };
        assert!(matches!(too_large.encode(&mut Vec::new()), Err(EntryError::TooLarge(_))));
    }
}
