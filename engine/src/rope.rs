//! Bytes that arrived in pieces, read as one. A request is parsed and a batch checked where they were received.
//!
//! Borrowed and free of allocation; every read is checked and answers [`Truncated`] instead of panicking.

/// The bytes ended before the value did, or a length in them was negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncated;

/// A run of bytes over consecutive pieces. A cursor too: the `read_*` methods take from the front.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// What is left of the piece at the front; empty only if nothing is left at all.
    front: &'a [u8],
    rest: &'a [&'a [u8]],
    len: usize,
}

impl<'a> Rope<'a> {
    pub fn new(pieces: &'a [&'a [u8]]) -> Rope<'a> {
        let len = pieces.iter().map(|p| p.len()).sum();
        let mut rope = Rope { front: &[], rest: pieces, len };
        rope.settle();
        rope
    }

    pub fn of(bytes: &'a [u8]) -> Rope<'a> {
        Rope { front: bytes, rest: &[], len: bytes.len() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All the bytes, if they lie in one piece.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        (self.front.len() >= self.len).then(|| &self.front[..self.len])
    }

    /// The pieces in order, none of them empty.
    pub fn slices(mut self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            if self.len == 0 {
                return None;
            }
            let piece = &self.front[..self.front.len().min(self.len)];
            self.advance(piece.len());
            Some(piece)
        })
    }

    /// Copies everything to `out`, which must be exactly as long.
    pub fn copy_to(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.len, "a rope is copied whole");
        let mut at = 0;
        for piece in self.slices() {
            out[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }

    pub fn append_to(&self, out: &mut Vec<u8>) {
        for piece in self.slices() {
            out.extend_from_slice(piece);
        }
    }

    #[inline]
    pub fn read_slice(&mut self, n: usize) -> Result<Rope<'a>, Truncated> {
        if n > self.len {
            return Err(Truncated);
        }
        let taken = Rope { front: self.front, rest: self.rest, len: n };
        self.advance(n);
        Ok(taken)
    }

    #[inline]
    pub fn skip(&mut self, n: usize) -> Result<(), Truncated> {
        if n > self.len {
            return Err(Truncated);
        }
        self.advance(n);
        Ok(())
    }

    #[inline]
    pub fn read_array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        if N > self.len {
            return Err(Truncated);
        }
        let mut out = [0; N];
        if self.front.len() >= N {
            out.copy_from_slice(&self.front[..N]);
            self.advance(N);
        } else {
            self.read_slice(N)?.copy_to(&mut out);
        }
        Ok(out)
    }

    #[inline]
    pub fn read_u8(&mut self) -> Result<u8, Truncated> {
        self.read_array::<1>().map(|b| b[0])
    }

    #[inline]
    pub fn read_i8(&mut self) -> Result<i8, Truncated> {
        self.read_array().map(i8::from_be_bytes)
    }

    #[inline]
    pub fn read_i16(&mut self) -> Result<i16, Truncated> {
        self.read_array().map(i16::from_be_bytes)
    }

    #[inline]
    pub fn read_i32(&mut self) -> Result<i32, Truncated> {
        self.read_array().map(i32::from_be_bytes)
    }

    #[inline]
    pub fn read_i64(&mut self) -> Result<i64, Truncated> {
        self.read_array().map(i64::from_be_bytes)
    }

    /// The next byte, if it is a whole varint and neither the last of its piece nor of all: what nearly every one is.
    #[inline]
    fn small(&mut self) -> Option<u8> {
        let byte = *self.front.first().filter(|byte| **byte < 0x80 && self.front.len() > 1 && self.len > 1)?;
        (self.front, self.len) = (&self.front[1..], self.len - 1);
        Some(byte)
    }

    /// An unsigned varint of at most 32 bits (lengths and counts of flexible versions).
    #[inline]
    pub fn read_uvarint(&mut self) -> Result<u32, Truncated> {
        match self.small() {
            Some(byte) => Ok(u32::from(byte)),
            None => self.read_long_uvarint(),
        }
    }

    fn read_long_uvarint(&mut self) -> Result<u32, Truncated> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.read_u8()?;
            if shift == 28 && byte > 0x0f {
                return Err(Truncated);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Truncated)
    }

    /// A zigzag varint of at most 32 bits (record lengths, offset deltas).
    #[inline]
    pub fn read_varint(&mut self) -> Result<i32, Truncated> {
        let raw = self.read_uvarint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A zigzag varint of at most 64 bits (timestamp deltas).
    #[inline]
    pub fn read_varlong(&mut self) -> Result<i64, Truncated> {
        match self.small() {
            Some(byte) => Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1)),
            None => self.read_long_varlong(),
        }
    }

    fn read_long_varlong(&mut self) -> Result<i64, Truncated> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.read_u8()?;
            if shift == 63 && byte > 1 {
                return Err(Truncated);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Truncated)
    }

    /// Within the front piece, mostly.
    #[inline]
    fn advance(&mut self, n: usize) {
        if n < self.front.len() {
            (self.front, self.len) = (&self.front[n..], self.len - n);
        } else {
            self.advance_over(n);
        }
    }

    fn advance_over(&mut self, mut n: usize) {
        self.len -= n;
        while n >= self.front.len() && n > 0 {
            n -= self.front.len();
            let Some((first, rest)) = self.rest.split_first() else {
                assert_eq!(n, 0, "a rope's length is the sum of its pieces");
                self.front = &[];
                return;
            };
            (self.front, self.rest) = (first, rest);
        }
        self.front = &self.front[n..];
        self.settle();
    }

    /// Moves past empty pieces, so that the front is empty only at the end.
    fn settle(&mut self) {
        while self.front.is_empty() {
            let Some((first, rest)) = self.rest.split_first() else { return };
            (self.front, self.rest) = (first, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way of cutting a buffer in three reads the same values.
    #[test]
    fn pieces_read_as_one() {
        let mut bytes = vec![7u8];
        bytes.extend((-2i16).to_be_bytes());
        bytes.extend(3_000_000i32.to_be_bytes());
        bytes.extend(i64::MIN.to_be_bytes());
        bytes.extend([0x96, 0x01, 0x95, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        bytes.extend(b"tail");
        for i in 0..=bytes.len() {
            for j in i..=bytes.len() {
                let pieces = [&bytes[..i], &bytes[i..j], &bytes[j..]];
                let mut rope = Rope::new(&pieces);
                assert_eq!(rope.len(), bytes.len());
                assert_eq!(rope.read_u8(), Ok(7));
                assert_eq!(rope.read_i16(), Ok(-2));
                assert_eq!(rope.read_i32(), Ok(3_000_000));
                assert_eq!(rope.read_i64(), Ok(i64::MIN));
                assert_eq!(rope.read_uvarint(), Ok(150));
                assert_eq!(rope.read_varint(), Ok(-75));
                assert_eq!(rope.read_varlong(), Ok(i64::MIN));
                let mut text = Vec::new();
                rope.read_slice(4).unwrap().append_to(&mut text);
                assert_eq!(text, b"tail");
                assert!(rope.is_empty());
                assert_eq!(rope.read_u8(), Err(Truncated));
            }
        }
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert_eq!(Rope::of(&[0xff; 10]).read_uvarint(), Err(Truncated));
        assert_eq!(Rope::of(&[0xff; 11]).read_varlong(), Err(Truncated));
        assert_eq!(Rope::of(&[0x80]).read_varint(), Err(Truncated));
    }
}
