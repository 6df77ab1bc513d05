//! Writing compressed bytes, in the shape that Kafka's Java client reads and writes.

use super::{Codec, lz4, snappy};
use ::lz4::block::{CompressionMode, compress_to_buffer};
use crc_fast::{CrcAlgorithm, checksum};
use flate2::{Compress, Compression, FlushCompress, Status};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

/// What a batch is compressed with when it is written: `compression.type` of a topic, with its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetCodec {
    /// `producer`: whatever the batch came with.
    #[default]
    Producer,
    /// One codec for all, at `compression.{gzip,lz4,zstd}.level` (Kafka's scale: gzip 1 to 9 or -1, lz4 1 to 17, zstd up to 22).
    Fixed { codec: Codec, level: i32 },
}

impl TargetCodec {
    /// `codec` at its default level.
    pub const fn fixed(codec: Codec) -> TargetCodec {
        TargetCodec::Fixed { codec, level: codec.default_level() }
    }

    /// Codec and level for a batch that came with `source`.
    pub const fn for_source(self, source: Codec) -> (Codec, i32) {
        match self {
            TargetCodec::Producer => (source, source.default_level()),
            TargetCodec::Fixed { codec, level } => (codec, level),
        }
    }
}

/// snappy-java's block size.
const SNAPPY_BLOCK: usize = 32 * 1024;
/// The block size Kafka's Java client writes, and the whole frame header that says so: version 1, independent blocks,
/// no checksums, 64 KiB, and the header's checksum.
const LZ4_BLOCK: usize = 64 * 1024;
const LZ4_DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
/// gzip, deflate, no flags, no time, no extra flags, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// By how much the output grows at a time while deflating.
const GZIP_STEP: usize = 16 * 1024;

/// About how many times the time of unpacking the same bytes it takes to compress them. Measured with lines of JSON, which
/// take about 1 ms per MiB to unpack, and rounded up; other bytes are cheaper.
pub const fn effort(codec: Codec, level: i32) -> usize {
    match (codec, level) {
        (Codec::None, _) => 1,
        (Codec::Snappy, _) => 2,
        (Codec::Lz4, level) if level == Codec::Lz4.default_level() => 2,
        (Codec::Gzip, 0..=3) | (Codec::Zstd, ..=3) => 4,
        (Codec::Zstd, ..=9) => 16,
        (Codec::Gzip, ..=6) => 32,
        (Codec::Lz4 | Codec::Gzip, _) => 128,
        (Codec::Zstd, ..=15) => 256,
        (Codec::Zstd, _) => 1024,
    }
}

/// Reusable contexts to compress with. Owned by one core or one helper thread.
#[derive(Default)]
pub struct Encoder {
    gzip: Option<(i32, Compress)>,
    lz4: Option<CompressTable>,
    zstd: Option<CCtx<'static>>,
}

impl Encoder {
    /// Appends `plain` to `out`, compressed. Levels are Kafka's; one out of range is brought into it.
    pub fn compress(&mut self, codec: Codec, level: i32, plain: &[u8], out: &mut Vec<u8>) {
        match codec {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => self.gzip(level, plain, out),
            Codec::Snappy => snappy_blocks(plain, out),
            Codec::Lz4 => self.lz4(level, plain, out),
            Codec::Zstd => self.zstd(level, plain, out),
        }
    }

    fn gzip(&mut self, level: i32, plain: &[u8], out: &mut Vec<u8>) {
        let level = if level < 0 { Compression::default().level() as i32 } else { level.min(9) };
        if self.gzip.as_ref().is_none_or(|(held, _)| *held != level) {
            self.gzip = Some((level, Compress::new(Compression::new(level as u32), false)));
        }
        let Some((_, deflate)) = &mut self.gzip else { unreachable!("made above") };
        deflate.reset();
        out.extend_from_slice(&GZIP_HEADER);
        loop {
            out.reserve(GZIP_STEP);
            let taken = deflate.total_in() as usize;
            match deflate.compress_vec(&plain[taken..], out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(_) => {}
                Err(e) => panic!("deflate of {} bytes at level {level} failed at {taken}: {e}", plain.len()),
            }
        }
        out.extend_from_slice(&(checksum(CrcAlgorithm::Crc32IsoHdlc, plain) as u32).to_le_bytes());
        out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    }

    /// As Kafka's Java client: the fast compressor at the default level, the high-compression one at any other.
    fn lz4(&mut self, level: i32, plain: &[u8], out: &mut Vec<u8>) {
        let high = (level != Codec::Lz4.default_level()).then(|| level.clamp(1, 17));
        let table = self.lz4.get_or_insert_with(CompressTable::large);
        out.extend_from_slice(&lz4::MAGIC.to_le_bytes());
        out.extend_from_slice(&LZ4_DESCRIPTOR);
        for block in plain.chunks(LZ4_BLOCK) {
            let at = out.len();
            out.resize(at + 4 + get_maximum_output_size(block.len()), 0);
            let compressed = match high {
                Some(level) => {
                    let mode = Some(CompressionMode::HIGHCOMPRESSION(level));
                    compress_to_buffer(block, mode, false, &mut out[at + 4..]).ok()
                }
                None => compress_into_with_table(block, &mut out[at + 4..], table).ok(),
            };
            let size = match compressed {
                Some(len) if len < block.len() => len as u32,
                _ => {
                    out[at + 4..at + 4 + block.len()].copy_from_slice(block);
                    block.len() as u32 | lz4::STORED
                }
            };
            out[at..at + 4].copy_from_slice(&size.to_le_bytes());
            out.truncate(at + 4 + (size & !lz4::STORED) as usize);
        }
        out.extend_from_slice(&[0; 4]);
    }

    fn zstd(&mut self, level: i32, plain: &[u8], out: &mut Vec<u8>) {
        let context = self.zstd.get_or_insert_with(CCtx::create);
        let range = zstd::compression_level_range();
        let level = level.clamp(*range.start(), *range.end());
        let at = out.len();
        out.resize(at + compress_bound(plain.len()), 0);
        let written = context
            .set_parameter(CParameter::CompressionLevel(level))
            .and_then(|_| context.compress2(&mut out[at..], plain));
        match written {
            Ok(len) => out.truncate(at + len),
            Err(code) => panic!("zstd of {} bytes at level {level} failed: {code}", plain.len()),
        }
    }

    /// Gives back the contexts; the next use makes them again.
    pub fn shrink(&mut self) {
        *self = Encoder::default();
    }
}

fn snappy_blocks(plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&snappy::FRAMED);
    out.extend_from_slice(&snappy::FRAMED_VERSION.to_be_bytes());
    out.extend_from_slice(&snappy::FRAMED_VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(SNAPPY_BLOCK) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        match encoder.compress(block, &mut out[at + 4..]) {
            Ok(len) => {
                out[at..at + 4].copy_from_slice(&(len as i32).to_be_bytes());
                out.truncate(at + 4 + len);
            }
            Err(e) => panic!("snappy of {} bytes failed: {e}", block.len()),
        }
    }
}
