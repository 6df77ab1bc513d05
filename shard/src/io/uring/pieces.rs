//! Progress through a list of spans that an operation writes or sends, and the `iovec`s that describe what is left of it.

use super::super::memory::Span;

/// The most `iovec`s the kernel takes at once (IOV_MAX).
const IOV_MAX: usize = 1024;

/// Spans and how far they are done. Its `iovec`s stay where they are until the next [`Pieces::describe`].
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) spans: Vec<Span>,
    /// The span at the front, and how many of its bytes are done.
    at: usize,
    done: usize,
    iov: Vec<libc::iovec>,
}

impl Pieces {
    /// None yet, and room to describe so many.
    pub(super) fn with_room(spans: usize) -> Pieces {
        Pieces { iov: Vec::with_capacity(spans), ..Pieces::default() }
    }

    /// Starts over with other spans; keeps the storage.
    pub(super) fn start(&mut self, spans: Vec<Span>) {
        (self.spans, self.at, self.done) = (spans, 0, 0);
        self.advance(0);
    }

    /// Whether all is done.
    pub(super) fn is_done(&self) -> bool {
        self.at == self.spans.len()
    }

    /// `bytes` more are done.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        while let Some(span) = self.spans.get(self.at) {
            let left = span.len() - self.done;
            if bytes < left {
                self.done += bytes;
                return;
            }
            bytes -= left;
            (self.at, self.done) = (self.at + 1, 0);
        }
        assert_eq!(bytes, 0, "the kernel took {bytes} bytes more than it was given");
    }

    /// Describes what is left, up to 1024 spans of it.
    pub(super) fn describe(&mut self) -> &mut [libc::iovec] {
        self.iov.clear();
        let mut skip = self.done;
        for span in self.spans[self.at..].iter().filter(|s| !s.is_empty()).take(IOV_MAX) {
            let bytes = &span.bytes()[std::mem::take(&mut skip)..];
            // The kernel only reads through it, whatever the type says.
            self.iov.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
        &mut self.iov
    }

    /// Gives the spans back.
    pub(super) fn finish(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::memory::BlockPool;
    use super::*;

    #[test]
    fn progress_crosses_spans_and_skips_empty_ones() {
        let mut block = BlockPool::new(4096).take(4096).unwrap();
        block.append(b"abcdefgh");
        let mut pieces = Pieces::default();
        pieces.start(vec![block.span(0, 0), block.span(0, 3), block.span(3, 0), block.span(3, 5), block.span(8, 0)]);
        let lengths = |p: &mut Pieces| p.describe().iter().map(|v| v.iov_len).collect::<Vec<_>>();
        assert_eq!(lengths(&mut pieces), [3, 5]);
        pieces.advance(2);
        assert_eq!(lengths(&mut pieces), [1, 5]);
        pieces.advance(2);
        assert_eq!(lengths(&mut pieces), [4]);
        assert!(!pieces.is_done());
        pieces.advance(4);
        assert!(pieces.is_done());
        assert_eq!(pieces.finish().len(), 5);
    }

    #[test]
    fn more_spans_than_the_kernel_takes_go_in_several_steps() {
        let mut block = BlockPool::new(4096).take(4096).unwrap();
        block.append(b"ab");
        let mut pieces = Pieces::default();
        pieces.start(vec![block.span(0, 2); 1500]);
        assert_eq!(pieces.describe().len(), 1024);
        pieces.advance(2047);
        assert_eq!(pieces.describe().len(), 1500 - 1023);
    }
}
