//! Frames: requests laid out into a connection's outgoing bytes, answers cut out of what arrives. Knows lengths and correlation,
//! and bounds what an answer may make us hold; what is in them is for others.

use crate::peer::Body;

/// The name that clients give themselves.
const CLIENT: &str = "ringlog-bench";
/// Bytes of an answer's beginning that are kept where the rest is thrown away.
const KEPT: usize = 128;

/// One direction each of a connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Bytes for the kernel.
    pub(super) out: Vec<u8>,
    sent: i32,
    answered: i32,
    /// The beginning of an answer that is not whole.
    buffer: Vec<u8>,
    /// Bytes of it that are thrown away as they come.
    skip: usize,
    /// Only the beginning of answers is wanted.
    heads_only: bool,
}

impl Wire {
    pub(super) fn new(heads_only: bool) -> Wire {
        Wire { heads_only, ..Wire::default() }
    }

    /// Lays out a request of a version before the flexible ones; `body` appends what follows the header.
    pub(super) fn request(&mut self, api: i16, version: i16, body: impl FnOnce(Body) -> Body) {
        let start = self.out.len();
        let head = Body(std::mem::take(&mut self.out)).i32(0).i16(api).i16(version).i32(self.sent).text(CLIENT);
        self.sent = self.sent.wrapping_add(1);
        self.out = body(head).0;
        let size = (self.out.len() - start - 4) as i32;
        self.out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// No answer comes to the last request.
    pub(super) fn no_answer(&mut self) {
        self.answered = self.answered.wrapping_add(1);
    }

    /// Takes the next whole answer, behind its correlation id, out of `bytes` (and what was left of earlier ones), moving `bytes` on; None: all is taken and
    /// more is needed. `largest` bounds an answer. The answer lies in `into` or in `bytes`.
    pub(super) fn next<'a: 'b, 'b>(
        &mut self,
        bytes: &mut &'a [u8],
        largest: usize,
        into: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, String> {
        if self.buffer.is_empty()
            && let Some(size) = bytes.first_chunk::<4>()
        {
            let size = self.size(*size, largest)?;
            if let Some((frame, rest)) = bytes.split_at_checked(4 + size) {
                *bytes = rest;
                return self.reply(&frame[4..]).map(Some);
            }
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            *bytes = &bytes[skipped..];
            let wanted = match self.buffer.first_chunk::<4>() {
                None => 4,
                Some(size) => {
                    let size = self.size(*size, largest)?;
                    4 + if self.heads_only { size.min(KEPT) } else { size }
                }
            };
            if self.buffer.len() >= wanted.max(5) && self.skip == 0 {
                break;
            }
            let taken = (wanted - self.buffer.len()).min(bytes.len());
            if taken == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&bytes[..taken]);
            *bytes = &bytes[taken..];
            if self.buffer.len() == wanted && wanted > 4 {
                let size = i32::from_be_bytes(*self.buffer.first_chunk().expect("more than four bytes")) as usize;
                self.skip = 4 + size - wanted;
            }
        }
        into.clear();
        std::mem::swap(into, &mut self.buffer);
        self.reply(&into[4..]).map(Some)
    }

    /// Takes back the memory of an answer that was looked at, for the next one.
    pub(super) fn keep_room(&mut self, from: &mut Vec<u8>) {
        if self.buffer.capacity() < from.capacity() && self.buffer.is_empty() {
            std::mem::swap(&mut self.buffer, from);
            self.buffer.clear();
        }
    }

    fn size(&self, size: [u8; 4], largest: usize) -> Result<usize, String> {
        let size = i32::from_be_bytes(size);
        match usize::try_from(size) {
            Ok(fits) if (4..=largest).contains(&fits) => Ok(fits),
            _ => Err(format!("an answer of {size} bytes, where 4 to {largest} are allowed")),
        }
    }

    fn reply<'a>(&mut self, frame: &'a [u8]) -> Result<&'a [u8], String> {
        let (correlation, body) = frame.split_first_chunk::<4>().ok_or("an answer without a correlation id")?;
        let correlation = i32::from_be_bytes(*correlation);
        if correlation != self.answered || self.answered == self.sent {
            return Err(format!("an answer to request {correlation}, where that to {} is due", self.answered));
        }
        self.answered = self.answered.wrapping_add(1);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two requests out, and their answers, of 10 and 1,000 bytes.
    fn asked(heads_only: bool) -> (Wire, Vec<u8>) {
        let mut wire = Wire::new(heads_only);
        wire.request(18, 0, |body| body);
        wire.request(18, 0, |body| body);
        let answers = [(0i32, 10usize), (1, 1000)];
        let frame = |(id, len): (i32, usize)| {
            [&(4 + len as u32).to_be_bytes()[..], &id.to_be_bytes(), &vec![id as u8 + 7; len]].concat()
        };
        (wire, answers.into_iter().flat_map(frame).collect())
    }

    fn pieces(wire: &mut Wire, bytes: &[u8], piece: usize) -> Result<Vec<(usize, u8)>, String> {
        let mut found = Vec::new();
        for mut chunk in bytes.chunks(piece) {
            loop {
                let mut into = Vec::new();
                let Some(reply) = wire.next(&mut chunk, 2000, &mut into)? else { break };
                found.push((reply.len(), reply[0]));
            }
        }
        Ok(found)
    }

    #[test]
    fn answers_are_cut_wherever_the_bytes_are_cut() {
        for piece in [1, 2, 3, 5, 13, 18, 19, 100, 5000] {
            let (mut wire, bytes) = asked(false);
            assert_eq!(pieces(&mut wire, &bytes, piece).unwrap(), [(10, 7), (1000, 8)], "by {piece}");
            let (mut wire, bytes) = asked(true);
            let found = pieces(&mut wire, &bytes, piece).unwrap();
            assert_eq!(found[0], (10, 7), "by {piece}");
            // Of an answer that came in one piece there is nothing to throw away.
            assert!(found[1] == (KEPT - 4, 8) || found[1] == (1000, 8), "{found:?}, by {piece}");
            assert!(wire.buffer.capacity() < 2000 && wire.skip == 0);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&b"HTTP/1.1 400"[..], &[0, 0, 0, 3, 1, 2, 3], &[0xff; 8], &[0, 0, 0, 4, 0, 0, 0, 9]] {
            let (mut wire, _) = asked(false);
            assert!(pieces(&mut wire, bytes, 100).is_err(), "{bytes:?}");
        }
        let (mut wire, bytes) = asked(false);
        pieces(&mut wire, &bytes, 5000).unwrap();
        assert!(pieces(&mut wire, &[0, 0, 0, 4, 0, 0, 0, 2], 5000).is_err(), "an answer to no question");
    }
}
