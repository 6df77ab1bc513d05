//! Records in and out of Kafka's batches, for the tools: owned and simple. The broker's own paths do not come here.

use bytes::Bytes;
use ringlog_engine::batch::{BatchBuilder, BatchHeader, HEADER_LEN, Records, RecordsError, checksum_matches};
use ringlog_engine::codec::{Codec, Decoder, Encoder};
use ringlog_engine::rope::Rope;

/// A batch that is larger than this when decompressed is not printed. Bytes.
const MAX_DECOMPRESSED: usize = 1 << 30;

/// How batches are compressed, as named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        }
    }
}

/// One record, as it is read or to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Only of a record that was read.
    pub(super) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(super) timestamp: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(String, Option<Bytes>)>,
}

/// What the bytes of a fetch hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) records: Vec<Record>,
    /// The offset after the last whole batch; none if there is no whole batch.
    pub(super) next_offset: Option<i64>,
}

/// One batch of `records`, which are not empty.
pub(super) fn encode(records: &[Record], compression: Compression) -> Bytes {
    let mut batch = BatchBuilder::new();
    for record in records {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        batch.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    let (codec, mut out) = (compression.codec(), Vec::new());
    batch.finish(0, -1, codec, codec.default_level(), &mut Encoder::default(), &mut out);
    out.into()
}

/// The records of whole batches. A last one that is cut off is left out: brokers end an answer anywhere.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let (mut decoder, mut buffer) = (Decoder::default(), Vec::new());
    let mut decoded = Decoded { records: Vec::new(), next_offset: None };
    let mut rest = Rope::of(bytes);
    while let Ok(head) = { rest }.read_array::<HEADER_LEN>() {
        let header = BatchHeader::parse(&head);
        if header.total_len() < HEADER_LEN {
            return Err(format!("a batch of {} bytes", header.total_len()));
        }
        let Ok(batch) = rest.read_slice(header.total_len()) else { break };
        let at = |why: &str| format!("the batch at offset {} {why}", header.base_offset);
        if !checksum_matches(batch) {
            return Err(at("has a wrong checksum"));
        }
        let unreadable = |error: RecordsError| match error {
            RecordsError::Malformed => at("is malformed"),
            RecordsError::Undecodable => at("cannot be decompressed"),
            RecordsError::TooLarge => at("is larger than 1 GiB when decompressed"),
        };
        decoded.next_offset = Some(header.next_offset());
        if header.is_control() {
            continue;
        }
        for record in Records::read(batch, &mut decoder, &mut buffer, MAX_DECOMPRESSED).map_err(unreadable)? {
            decoded.records.push(owned(&record.map_err(unreadable)?));
        }
    }
    Ok(decoded)
}

fn owned(record: &ringlog_engine::batch::Record<'_>) -> Record {
    let bytes = |slice: Option<&[u8]>| slice.map(Bytes::copy_from_slice);
    let headers = record.headers.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), bytes(value)));
    Record {
        offset: record.offset,
        timestamp: record.timestamp,
        key: bytes(record.key),
        value: bytes(record.value),
        headers: headers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Record> {
        let record = |offset: i64, key: Option<&'static str>, value: Option<&'static str>| Record {
            offset,
            timestamp: 1_700_000_000_000 - offset,
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: vec![("h".to_string(), None), (String::new(), Some("x".into()))],
        };
        vec![record(0, None, Some("")), record(1, Some("k"), None), record(2, Some(""), Some("v"))]
    }

    #[test]
    fn records_survive_every_codec() {
        use clap::ValueEnum;
        for compression in Compression::value_variants() {
            let decoded = decode(&encode(&three(), *compression));
            assert_eq!(decoded, Ok(Decoded { records: three(), next_offset: Some(3) }), "{compression:?}");
        }
    }

    #[test]
    fn a_cut_last_batch_is_left_out_and_a_damaged_one_refused() {
        let one = encode(&three(), Compression::None);
        let two = [&one[..], &one[..]].concat();
        for cut in one.len()..two.len() {
            assert_eq!(decode(&two[..cut]).unwrap().records.len(), 3, "{cut}");
        }
        let mut damaged = one.to_vec();
        damaged[70] ^= 1;
        assert_eq!(decode(&damaged), Err("the batch at offset 0 has a wrong checksum".to_string()));
        let mut short = one.to_vec();
        short[8..12].copy_from_slice(&(-1i32).to_be_bytes());
        assert!(decode(&short).is_err());
    }
}
