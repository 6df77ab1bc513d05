//! Reading compressed bytes piece by piece: memory is a window, whatever the stream claims to hold.

use super::{Codec, CodecError, gzip, lz4, snappy};
use crate::rope::Rope;
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

/// What one step of gzip or zstd puts out at most, in bytes.
const WINDOW: usize = 32 * 1024;

/// Reusable contexts and buffers to decompress with. Owned by one core or one helper thread.
///
/// Between uses it holds its largest window so far: 64 KiB plus one block (at most 4 MiB) for lz4, the frame's window
/// for zstd (at most 128 MiB, as in Kafka's own clients), a whole block for snappy. [`Decoder::shrink`] gives it back.
#[derive(Default)]
pub struct Decoder {
    /// What was put out last; for linked lz4 blocks the history lies in front of it.
    pub(super) out: Vec<u8>,
    /// A compressed block whose bytes were not in one piece.
    pub(super) block: Vec<u8>,
    gzip: Option<Box<gzip::Inflate>>,
    zstd: Option<DCtx<'static>>,
}

impl Decoder {
    /// Starts reading `input`. At most `limit` bytes come out of it; the next one is [`CodecError::TooLarge`].
    pub fn open<'a>(&'a mut self, codec: Codec, input: Rope<'a>, limit: usize) -> Plain<'a> {
        let state = match codec {
            Codec::None => State::Stored(&[]),
            Codec::Gzip => State::Gzip(gzip::State::default()),
            Codec::Snappy => State::Snappy(snappy::State::Start),
            Codec::Lz4 => State::Lz4(lz4::State::default()),
            Codec::Zstd => {
                let context = self.zstd.get_or_insert_with(DCtx::create);
                // What a stream abandoned half-way left behind; resetting only the session cannot fail.
                let _ = context.reset(ResetDirective::SessionOnly);
                State::Zstd { frame_ended: false }
            }
        };
        Plain { decoder: self, input, state, from: 0, to: 0, left: limit }
    }

    /// Reads all of `input` and appends it to `out`, at most `limit` bytes.
    pub fn read_all(
        &mut self,
        codec: Codec,
        input: Rope<'_>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let mut plain = self.open(codec, input, limit);
        while plain.advance()? {
            out.extend_from_slice(plain.piece());
        }
        Ok(())
    }

    /// Memory held between uses, in bytes.
    pub fn held(&self) -> usize {
        let zstd = self.zstd.as_ref().map_or(0, DCtx::sizeof);
        self.out.capacity() + self.block.capacity() + zstd
    }

    /// Gives back what a large stream made it hold, once that is more than `keep` bytes.
    pub fn shrink(&mut self, keep: usize) {
        if self.held() > keep {
            (self.out, self.block, self.zstd) = (Vec::new(), Vec::new(), None);
        }
    }

    /// Makes `out` hold `len` bytes. Grown once, then kept, so that it is not zeroed again.
    pub(super) fn room(&mut self, len: usize) {
        if self.out.len() < len {
            self.out.resize(len, 0);
        }
    }
}

/// Where a stream is, by codec.
enum State<'a> {
    /// Not compressed: the pieces are those of the input.
    Stored(&'a [u8]),
    Gzip(gzip::State),
    Snappy(snappy::State),
    Lz4(lz4::State),
    Zstd {
        frame_ended: bool,
    },
}

/// A stream being read. [`Plain::advance`] produces the next piece, [`Plain::piece`] shows it.
pub struct Plain<'a> {
    decoder: &'a mut Decoder,
    input: Rope<'a>,
    state: State<'a>,
    /// The piece, in the decoder's `out`.
    from: usize,
    to: usize,
    /// How many more bytes may come out.
    left: usize,
}

impl Plain<'_> {
    /// The bytes that the last [`Plain::advance`] produced; empty before the first and after the last.
    #[inline]
    pub fn piece(&self) -> &[u8] {
        match self.state {
            State::Stored(piece) => piece,
            _ => &self.decoder.out[self.from..self.to],
        }
    }

    /// Produces the next piece, never an empty one; false at the proper end of the stream.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, CodecError> {
        let State::Stored(piece) = &mut self.state else { return self.decompress() };
        let next = first_piece(&self.input);
        *piece = next;
        self.input.skip(next.len())?;
        self.take(next.len())?;
        Ok(!next.is_empty())
    }

    // Out of line: an uncompressed batch should not pay for the frames of the codecs.
    #[inline(never)]
    fn decompress(&mut self) -> Result<bool, CodecError> {
        (self.from, self.to) = (0, 0);
        let span = match &mut self.state {
            State::Stored(_) => 0..0,
            State::Gzip(state) => {
                self.decoder.room(WINDOW);
                let inflate = self.decoder.gzip.get_or_insert_with(gzip::Inflate::boxed);
                0..state.step(inflate, &mut self.input, &mut self.decoder.out)?
            }
            State::Snappy(state) => 0..state.step(self.decoder, &mut self.input, self.left)?,
            State::Lz4(state) => state.step(self.decoder, &mut self.input)?,
            State::Zstd { frame_ended } => 0..zstd_step(self.decoder, &mut self.input, frame_ended)?,
        };
        self.take(span.len())?;
        (self.from, self.to) = (span.start, span.end);
        Ok(!span.is_empty())
    }

    /// Counts what came out against the limit.
    fn take(&mut self, len: usize) -> Result<(), CodecError> {
        self.left = self.left.checked_sub(len).ok_or(CodecError::TooLarge)?;
        Ok(())
    }
}

/// The first run of bytes that lie together; empty at the end.
pub(super) fn first_piece<'a>(input: &Rope<'a>) -> &'a [u8] {
    input.slices().next().unwrap_or(&[])
}

/// One window out of a zstd stream; 0 when the last frame has ended and nothing follows it.
fn zstd_step(decoder: &mut Decoder, input: &mut Rope<'_>, frame_ended: &mut bool) -> Result<usize, CodecError> {
    decoder.room(WINDOW);
    let Decoder { out, zstd: Some(context), .. } = decoder else { return Err(CodecError::Corrupt) };
    loop {
        if *frame_ended && input.is_empty() {
            return Ok(0);
        }
        let mut from = InBuffer::around(first_piece(input));
        let mut to = OutBuffer::around(&mut out[..WINDOW]);
        let wanted = context.decompress_stream(&mut to, &mut from).map_err(|_| CodecError::Corrupt)?;
        let (consumed, produced) = (from.pos(), to.pos());
        input.skip(consumed).map_err(|_| CodecError::Corrupt)?;
        *frame_ended = wanted == 0;
        if produced > 0 {
            return Ok(produced);
        }
        if consumed == 0 && !*frame_ended {
            return Err(CodecError::Corrupt);
        }
    }
}
