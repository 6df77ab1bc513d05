//! The lz4 frame format, version 1, read block by block: independent and linked blocks, every checksum checked.

use super::CodecError;
use super::decode::Decoder;
use crate::rope::Rope;
use lz4_flex::block::decompress_into_with_dict;
use std::hash::Hasher;
use std::ops::Range;
use twox_hash::XxHash32;

pub(super) const MAGIC: u32 = 0x184d_2204;
/// Descriptor flags.
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
/// Set in a block's size when its bytes are stored as they are.
pub(super) const STORED: u32 = 1 << 31;
/// How far back a linked block may reach.
const HISTORY: usize = 64 * 1024;
/// A byte of a match length stands for at most 255 bytes: what a block can expand to, with its literals.
const MAX_EXPANSION: usize = 255;

/// What the descriptor of a frame said.
struct Frame {
    block_max: usize,
    linked: bool,
    block_checksum: bool,
    content: Option<XxHash32>,
    /// Bytes still to come, where the frame says its size.
    content_left: Option<u64>,
}

/// Where the stream is: before its frame, in it, or behind it.
#[derive(Default)]
pub(super) struct State {
    frame: Option<Frame>,
    ended: bool,
    /// Bytes in the decoder's `out` that the next linked block may reach back to.
    filled: usize,
}

impl State {
    /// Decompresses the next block; answers where in the decoder's `out` it lies, empty at the end.
    pub(super) fn step(&mut self, decoder: &mut Decoder, input: &mut Rope<'_>) -> Result<Range<usize>, CodecError> {
        while !self.ended {
            let frame = match &mut self.frame {
                Some(frame) => frame,
                none => none.insert(read_descriptor(input)?),
            };
            let size = u32::from_le_bytes(input.read_array()?);
            if size == 0 {
                end_frame(frame, input)?;
                self.ended = true;
                break;
            }
            let history = if frame.linked { keep_history(decoder, self.filled) } else { 0 };
            let produced = read_block(frame, decoder, input, size, history)?;
            self.filled = history + produced;
            if produced > 0 {
                return Ok(history..history + produced);
            }
        }
        Ok(0..0)
    }
}

/// Moves the last 64 KiB of what was put out to the front; answers how much that is.
fn keep_history(decoder: &mut Decoder, filled: usize) -> usize {
    let kept = filled.min(HISTORY);
    decoder.out.copy_within(filled - kept..filled, 0);
    kept
}

fn read_block(
    frame: &mut Frame,
    decoder: &mut Decoder,
    input: &mut Rope<'_>,
    size: u32,
    history: usize,
) -> Result<usize, CodecError> {
    let (stored, len) = (size & STORED != 0, (size & !STORED) as usize);
    if len > frame.block_max {
        return Err(CodecError::Corrupt);
    }
    let block = input.read_slice(len)?;
    let most = if stored { len } else { frame.block_max.min(len * MAX_EXPANSION + 64) };
    decoder.room(history + most);
    let Decoder { out, block: gathered, .. } = decoder;
    let bytes = match block.contiguous() {
        Some(bytes) => bytes,
        None => {
            gathered.clear();
            block.append_to(gathered);
            gathered
        }
    };
    if frame.block_checksum && u32::from_le_bytes(input.read_array()?) != XxHash32::oneshot(0, bytes) {
        return Err(CodecError::Corrupt);
    }
    let (past, rest) = out.split_at_mut(history);
    let produced = if stored {
        rest[..len].copy_from_slice(bytes);
        len
    } else {
        decompress_into_with_dict(bytes, &mut rest[..most], past).map_err(|_| CodecError::Corrupt)?
    };
    if let Some(content) = &mut frame.content {
        content.write(&rest[..produced]);
    }
    if let Some(left) = &mut frame.content_left {
        *left = left.checked_sub(produced as u64).ok_or(CodecError::Corrupt)?;
    }
    Ok(produced)
}

fn read_descriptor(input: &mut Rope<'_>) -> Result<Frame, CodecError> {
    if u32::from_le_bytes(input.read_array()?) != MAGIC {
        return Err(CodecError::Corrupt);
    }
    let mut descriptor = [0u8; 10];
    let [flags, block] = input.read_array()?;
    if flags & VERSION_MASK != VERSION || flags & DICTIONARY != 0 {
        return Err(CodecError::Corrupt);
    }
    let (mut len, mut content_left) = (2, None);
    descriptor[..2].copy_from_slice(&[flags, block]);
    if flags & CONTENT_SIZE != 0 {
        let size: [u8; 8] = input.read_array()?;
        descriptor[2..].copy_from_slice(&size);
        (len, content_left) = (10, Some(u64::from_le_bytes(size)));
    }
    if input.read_u8()? != (XxHash32::oneshot(0, &descriptor[..len]) >> 8) as u8 {
        return Err(CodecError::Corrupt);
    }
    let block_max = match (block >> 4) & 7 {
        id @ 4..=7 => 1usize << (8 + 2 * id),
        _ => return Err(CodecError::Corrupt),
    };
    Ok(Frame {
        block_max,
        linked: flags & INDEPENDENT == 0,
        block_checksum: flags & BLOCK_CHECKSUM != 0,
        content: (flags & CONTENT_CHECKSUM != 0).then(|| XxHash32::with_seed(0)),
        content_left,
    })
}

/// Checks the end of the frame; nothing may follow it.
fn end_frame(frame: &Frame, input: &mut Rope<'_>) -> Result<(), CodecError> {
    if let Some(content) = &frame.content
        && u32::from_le_bytes(input.read_array()?) != content.finish_32()
    {
        return Err(CodecError::Corrupt);
    }
    if frame.content_left.is_some_and(|left| left != 0) || !input.is_empty() {
        return Err(CodecError::Corrupt);
    }
    Ok(())
}
