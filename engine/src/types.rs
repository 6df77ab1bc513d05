//! The value types every crate shares: ids, time, and what names a partition. Plain data, on any core.

use std::fmt;

/// Topic ids travel and are printed as Kafka's `Uuid`: 16 bytes, base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id": what the protocol sends where a name is used instead.
    pub const ZERO: TopicId = TopicId([0; 16]);
    /// The id Kafka reserves for the cluster metadata log (KIP-516).
    pub const METADATA: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// A version 4 UUID out of 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> TopicId {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        TopicId(bytes)
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(3) {
            let mut word = [0u8; 3];
            word[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
            for k in 0..=chunk.len() {
                write!(f, "{}", BASE64_URL[(bits >> (18 - 6 * k)) as usize & 63] as char)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for TopicId {
    type Err = ();

    fn from_str(text: &str) -> Result<TopicId, ()> {
        let bytes = text.as_bytes();
        if bytes.len() != 22 {
            return Err(());
        }
        let (mut id, mut at, mut bits, mut held) = ([0u8; 16], 0, 0u32, 0);
        for byte in bytes {
            let digit = BASE64_URL.iter().position(|c| c == byte).ok_or(())? as u32;
            bits = (bits << 6) | digit;
            held += 6;
            if held >= 8 && at < 16 {
                held -= 8;
                id[at] = (bits >> held) as u8;
                at += 1;
                bits &= (1 << held) - 1;
            }
        }
        if at == 16 && bits == 0 { Ok(TopicId(id)) } else { Err(()) }
    }
}

/// What names a partition for ever: a re-created topic has a new id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartitionKey {
    pub topic: TopicId,
    pub partition: i32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Index of a shard in this process, 0-based; not the number of the CPU it is pinned to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CoreId(pub u16);

/// Wall-clock milliseconds since the Unix epoch, as Kafka's timestamps. May step back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMs(pub i64);

/// Monotonic milliseconds since the process started. Timeouts and deadlines use this; never steps back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MonoMs(pub u64);

impl MonoMs {
    pub const MAX: MonoMs = MonoMs(u64::MAX);

    pub fn after(self, millis: u64) -> MonoMs {
        MonoMs(self.0.saturating_add(millis))
    }
}

/// Both clocks, read once a turn: everything in a turn happens at this instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono: MonoMs,
    pub wall: WallMs,
}

/// A position in a log and in its current segment, used by indexes and read plans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAndTimestamp {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_print_and_parse_as_kafka_does() {
        let id =
            TopicId([0xa3, 0x05, 0x90, 0x41, 0x29, 0x12, 0x46, 0x49, 0x8f, 0xdb, 0x3d, 0x85, 0x0c, 0xe7, 0xbe, 0x65]);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(TopicId::METADATA));
        assert!("AAAAAAAAAAAAAAAAAAAAA!".parse::<TopicId>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAAB".parse::<TopicId>().is_err());
    }
}
