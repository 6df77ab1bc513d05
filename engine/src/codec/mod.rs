//! Compression of record batches: the five codecs of Kafka, read in bounded pieces and written whole.
//!
//! Not the batch format: what is inside is bytes here. Contexts ([`Decoder`], [`Encoder`]) are plain data owned by
//! one core or one helper thread, and are reused: once warm, reading allocates nothing.

mod decode;
mod encode;
mod gzip;
mod lz4;
mod snappy;

pub use decode::{Decoder, Plain};
pub use encode::{Encoder, TargetCodec, effort};

/// The compression types of batch attributes, bits 0-2 (protocol page "Record Batch").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this number, if Kafka defines one.
    pub const fn from_id(id: i16) -> Option<Codec> {
        Some(match id {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }

    /// The number in batch attributes, 0 to 4.
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// Kafka's name, as tools print it and producers configure it.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Codec> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// What `compression.{gzip,lz4,zstd}.level` is when nobody sets it (KIP-390, KIP-780); 0 where there is no level.
    pub const fn default_level(self) -> i32 {
        match self {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why compressed bytes could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodecError {
    /// Not what the codec writes: truncated, damaged, or followed by something else.
    Corrupt,
    /// More than the limit comes out of it.
    TooLarge,
}

#[cfg(test)]
mod tests;
