//! Snappy as Kafka's clients write it: the Java library's framing of many blocks, or one bare block (librdkafka).

use super::CodecError;
use super::decode::Decoder;
use crate::rope::Rope;

/// First bytes of the framing of snappy-java ("xerial"); two big-endian versions follow, then length-prefixed blocks.
pub(super) const FRAMED: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version that snappy-java writes, and the oldest it reads.
pub(super) const FRAMED_VERSION: i32 = 1;

/// A block says how long it is when decompressed. The densest element turns 3 bytes into 64, so a claim beyond this is
/// a lie, refused before memory is spent on it.
const MAX_EXPANSION: usize = 22;

/// Where the stream is.
pub(super) enum State {
    Start,
    Framed,
    End,
}

impl State {
    /// Decompresses the next block to the front of the decoder's `out`; 0 at the end.
    pub(super) fn step(
        &mut self,
        decoder: &mut Decoder,
        input: &mut Rope<'_>,
        limit: usize,
    ) -> Result<usize, CodecError> {
        if let State::Start = self {
            let mut head = *input;
            *self = match head.read_array() {
                Ok(FRAMED) => {
                    let (version, _oldest) = (head.read_i32()?, head.read_i32()?);
                    if version < FRAMED_VERSION {
                        return Err(CodecError::Corrupt);
                    }
                    *input = head;
                    State::Framed
                }
                _ => State::End,
            };
            if let State::End = self {
                let whole = input.read_slice(input.len())?;
                return decompress(decoder, whole, limit);
            }
        }
        while !input.is_empty() {
            let len = usize::try_from(input.read_i32()?).map_err(|_| CodecError::Corrupt)?;
            let block = input.read_slice(len)?;
            let produced = decompress(decoder, block, limit)?;
            if produced > 0 {
                return Ok(produced);
            }
        }
        Ok(0)
    }
}

fn decompress(decoder: &mut Decoder, block: Rope<'_>, limit: usize) -> Result<usize, CodecError> {
    let bytes = match block.contiguous() {
        Some(bytes) => bytes,
        None => {
            decoder.block.clear();
            block.append_to(&mut decoder.block);
            &decoder.block
        }
    };
    let len = snap::raw::decompress_len(bytes).map_err(|_| CodecError::Corrupt)?;
    if len > bytes.len().saturating_mul(MAX_EXPANSION) {
        return Err(CodecError::Corrupt);
    }
    if len > limit {
        return Err(CodecError::TooLarge);
    }
    if decoder.out.len() < len {
        decoder.out.resize(len, 0);
    }
    snap::raw::Decoder::new().decompress(bytes, &mut decoder.out[..len]).map_err(|_| CodecError::Corrupt)
}
