//! Bytes of a fuzzer as a stream of choices. When they are used up every choice is 0.

pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Up to so many bytes.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn word<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut word = [0; N];
        word[..taken.len()].copy_from_slice(taken);
        word
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.word::<1>()[0]
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.word())
    }

    /// A number below `limit`, which is at most 65536.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        let drawn = if limit <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        drawn % limit.max(1)
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Two places to cut the rest at.
    pub(super) fn cuts(&mut self) -> (usize, usize) {
        let (a, b) = (usize::from(self.u8()), usize::from(self.u16()));
        let len = self.0.len();
        (a.min(b).min(len), a.max(b).min(len))
    }
}

/// Some bytes in three pieces.
pub(super) fn pieces(bytes: &[u8], (first, second): (usize, usize)) -> [&[u8]; 3] {
    [&bytes[..first], &bytes[first..second], &bytes[second..]]
}
