//! Compression of the records of a batch, as Kafka's clients do it: gzip, snappy in xerial's framing, lz4 frames, zstd.

use crate::bench::workload::Codec;
use std::io::{self, Read, Write};

/// Bytes that the records of one batch may become: far more than any batch that was written here.
pub(super) const LARGEST: usize = 128 << 20;
/// Uncompressed bytes of one snappy block.
const SNAPPY_BLOCK: usize = 32 << 10;
/// How xerial's framing begins: its name, version 1, readable by version 1.
const XERIAL: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// The number in a batch's attributes.
pub(super) fn number(codec: Codec) -> i16 {
    match codec {
        Codec::None => 0,
        Codec::Gzip => 1,
        Codec::Snappy => 2,
        Codec::Lz4 => 3,
        Codec::Zstd => 4,
    }
}

/// Appends `plain`, compressed.
pub(super) fn compress(codec: Codec, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Codec::None => out.extend_from_slice(plain),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(plain)?;
            encoder.finish()?;
        }
        Codec::Snappy => {
            out.extend_from_slice(&XERIAL);
            for block in plain.chunks(SNAPPY_BLOCK) {
                let packed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
                out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                out.extend_from_slice(&packed);
            }
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)?;
        }
        Codec::Zstd => out.extend_from_slice(&zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL)?),
    }
    Ok(())
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Reads all of a decoder, up to [`LARGEST`].
fn drain(decoder: impl Read, out: &mut Vec<u8>) -> io::Result<()> {
    let read = decoder.take(LARGEST as u64 + 1).read_to_end(out)?;
    if read > LARGEST { Err(nonsense("a batch that unpacks to too much")) } else { Ok(()) }
}

/// Fills `out` with what `packed` was. `codec` is the number in the attributes.
pub(super) fn decompress(codec: i16, packed: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    match codec {
        1 => drain(flate2::read::GzDecoder::new(packed), out),
        2 => snappy(packed, out),
        3 => drain(lz4_flex::frame::FrameDecoder::new(packed), out),
        4 => drain(zstd::stream::read::Decoder::new(packed)?, out),
        _ => Err(nonsense("a codec that does not exist")),
    }
}

fn snappy(packed: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut block = |packed: &[u8]| {
        let (at, len) = (out.len(), snap::raw::decompress_len(packed).map_err(io::Error::other)?);
        if len > LARGEST - at {
            return Err(nonsense("a batch that unpacks to too much"));
        }
        out.resize(at + len, 0);
        snap::raw::Decoder::new().decompress(packed, &mut out[at..]).map_err(io::Error::other).map(drop)
    };
    let Some(mut rest) = packed.strip_prefix(&XERIAL[..8]).and_then(|rest| rest.get(8..)) else {
        return block(packed);
    };
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let (packed, after) = after.split_at_checked(len).ok_or_else(|| nonsense("a snappy block cut short"))?;
        block(packed)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_goes_there_and_back() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|k| (k / 7).to_be_bytes()).collect();
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let (mut packed, mut back) = (Vec::new(), Vec::new());
            compress(codec, &plain, &mut packed).unwrap();
            assert!(packed.len() < plain.len(), "{codec:?}");
            decompress(number(codec), &packed, &mut back).unwrap();
            assert!(back == plain, "{codec:?}");
            packed.truncate(packed.len() / 2);
            let cut = decompress(number(codec), &packed, &mut back);
            assert!(cut.is_err() || back != plain, "{codec:?} cut short");
        }
    }
}
