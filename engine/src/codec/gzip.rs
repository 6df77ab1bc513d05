//! The gzip container (RFC 1952) around deflate: members one after the other, trailers checked.

use super::CodecError;
use super::decode::first_piece;
use crate::rope::{Rope, Truncated};
use crc_fast::{CrcAlgorithm, Digest};
use flate2::{Decompress, FlushDecompress, Status};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

impl From<Truncated> for CodecError {
    fn from(_: Truncated) -> CodecError {
        CodecError::Corrupt
    }
}

/// The reusable deflate state, with the checksum of the member being read.
pub(super) struct Inflate {
    deflate: Decompress,
    crc: Digest,
}

impl Inflate {
    /// Made once. Kept out of line: tens of kilobytes pass over the stack on their way to the heap.
    #[cold]
    #[inline(never)]
    pub(super) fn boxed() -> Box<Inflate> {
        Box::new(Inflate { deflate: Decompress::new(false), crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc) })
    }
}

/// Where in the container the stream is.
#[derive(Default)]
pub(super) struct State {
    in_member: bool,
    members: u32,
}

impl State {
    /// Fills `out` as far as it goes; 0 after the last member.
    pub(super) fn step(
        &mut self,
        inflate: &mut Inflate,
        input: &mut Rope<'_>,
        out: &mut [u8],
    ) -> Result<usize, CodecError> {
        loop {
            if !self.in_member {
                if input.is_empty() && self.members > 0 {
                    return Ok(0);
                }
                read_header(input)?;
                inflate.deflate.reset(false);
                inflate.crc.reset();
                self.in_member = true;
                self.members = self.members.saturating_add(1);
            }
            let deflate = &mut inflate.deflate;
            let (in_before, out_before) = (deflate.total_in(), deflate.total_out());
            let status =
                deflate.decompress(first_piece(input), out, FlushDecompress::None).map_err(|_| CodecError::Corrupt)?;
            let consumed = (deflate.total_in() - in_before) as usize;
            let produced = (deflate.total_out() - out_before) as usize;
            let size = deflate.total_out() as u32;
            input.skip(consumed)?;
            inflate.crc.update(&out[..produced]);
            if status == Status::StreamEnd {
                let crc = u32::from_le_bytes(input.read_array()?);
                if crc != inflate.crc.finalize() as u32 || u32::from_le_bytes(input.read_array()?) != size {
                    return Err(CodecError::Corrupt);
                }
                self.in_member = false;
            } else if consumed == 0 && produced == 0 {
                return Err(CodecError::Corrupt);
            }
            if produced > 0 {
                return Ok(produced);
            }
        }
    }
}

/// Passes the header of a member.
fn read_header(input: &mut Rope<'_>) -> Result<(), CodecError> {
    if input.read_array()? != MAGIC {
        return Err(CodecError::Corrupt);
    }
    let flags = input.read_u8()?;
    if flags & FLAGS_RESERVED != 0 {
        return Err(CodecError::Corrupt);
    }
    // Modification time, extra flags, operating system.
    input.skip(6)?;
    if flags & FLAG_EXTRA != 0 {
        let len = u16::from_le_bytes(input.read_array()?);
        input.skip(usize::from(len))?;
    }
    for text in [FLAG_NAME, FLAG_COMMENT] {
        while flags & text != 0 && input.read_u8()? != 0 {}
    }
    if flags & FLAG_HEADER_CRC != 0 {
        input.skip(2)?;
    }
    Ok(())
}
