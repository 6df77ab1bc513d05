//! Frames, and what a server does with them, whatever drives its sockets: four bytes of length and the payload come in, 64 bytes
//! with the payload's checksum go out. Runs on the server's core; the tape of frames to send is the load's.

use super::stage::{Chunk, Group, Stage};
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of the answer to a frame; the first four are the checksum of the payload, big-endian.
pub const ANSWER: usize = 64;
/// Bytes of the length that comes before a payload, big-endian.
pub const HEAD: usize = 4;

/// CRC-32C, computed as the broker does.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Frames to be sent again and again, encoded once. Each has other contents.
pub struct Tape {
    pub bytes: Vec<u8>,
    /// Bytes of one frame, head and payload.
    pub frame: usize,
    /// The checksum of each frame's payload.
    pub checksums: Vec<u32>,
}

impl Tape {
    /// Frames of about 64 KiB in all, or one.
    pub fn new(payload: usize) -> Tape {
        let frame = HEAD + payload;
        let count = ((64 << 10) / frame).clamp(1, 64);
        let mut tape = Tape { bytes: Vec::with_capacity(count * frame), frame, checksums: Vec::with_capacity(count) };
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ payload as u64;
        for _ in 0..count {
            tape.bytes.extend((payload as u32).to_be_bytes());
            let begin = tape.bytes.len();
            tape.bytes.resize_with(begin + payload, || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            });
            tape.checksums.push(checksum(&tape.bytes[begin..]));
        }
        tape
    }
}

/// Who is told what comes out of a connection's bytes.
pub trait FrameHandler {
    /// A piece of the payload that is being received.
    fn payload(&mut self, bytes: &[u8]);
    /// The payload is whole, and this is its checksum.
    fn frame(&mut self, conn: usize, crc: u32);
}

/// Where a connection is in its frames.
#[derive(Default)]
pub struct Parser {
    head: [u8; HEAD],
    have: usize,
    left: usize,
    /// The checksum so far of a payload that comes in several pieces.
    begun: Option<Digest>,
}

impl Parser {
    /// Takes what a connection received.
    pub fn feed(&mut self, conn: usize, mut bytes: &[u8], handler: &mut impl FrameHandler) {
        while !bytes.is_empty() {
            if self.have < HEAD {
                let (now, rest) = bytes.split_at(bytes.len().min(HEAD - self.have));
                self.head[self.have..self.have + now.len()].copy_from_slice(now);
                self.have += now.len();
                bytes = rest;
                if self.have < HEAD {
                    return;
                }
                self.left = u32::from_be_bytes(self.head) as usize;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.left));
            bytes = rest;
            self.left -= now.len();
            handler.payload(now);
            if self.left == 0 {
                let crc = match self.begun.take() {
                    None => checksum(now),
                    Some(mut begun) => {
                        begun.update(now);
                        begun.finalize() as u32
                    }
                };
                self.have = 0;
                handler.frame(conn, crc);
            } else if !now.is_empty() {
                self.begun.get_or_insert_with(|| Digest::new(CrcAlgorithm::Crc32Iscsi)).update(now);
            }
        }
    }
}

/// All connections of a server: their parsers, what is staged, and the answers that are due.
pub struct Service<C> {
    parsers: Vec<Parser>,
    desk: Desk<C>,
}

/// What frames are turned into. Without a stage they are answered at once, else when their group is settled.
struct Desk<C> {
    stage: Option<Stage<C>>,
    answers: Answers,
}

/// Answers that are due, by connection.
#[derive(Default)]
struct Answers {
    of: Vec<Vec<u8>>,
    /// Connections whose answers went from none to some.
    ready: Vec<usize>,
}

impl Answers {
    fn push(&mut self, conn: usize, crc: u32) {
        let due = &mut self.of[conn];
        if due.is_empty() {
            self.ready.push(conn);
        }
        let begin = due.len();
        due.resize(begin + ANSWER, 0);
        due[begin..begin + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

impl<C: Chunk> FrameHandler for Desk<C> {
    fn payload(&mut self, bytes: &[u8]) {
        if let Some(stage) = &mut self.stage {
            stage.put(bytes);
        }
    }

    fn frame(&mut self, conn: usize, crc: u32) {
        match &mut self.stage {
            Some(stage) => stage.end_frame(conn, crc),
            None => self.answers.push(conn, crc),
        }
    }
}

impl<C: Chunk> Service<C> {
    /// With a stage, frames are written before they are answered.
    pub fn new(stage: Option<Stage<C>>) -> Service<C> {
        Service { parsers: Vec::new(), desk: Desk { stage, answers: Answers::default() } }
    }

    /// A connection came; they are numbered from 0.
    pub fn open(&mut self, conn: usize) {
        if self.parsers.len() <= conn {
            self.parsers.resize_with(conn + 1, Parser::default);
            self.desk.answers.of.resize_with(conn + 1, Vec::new);
        }
    }

    pub fn received(&mut self, conn: usize, bytes: &[u8]) {
        self.parsers[conn].feed(conn, bytes, &mut self.desk);
    }

    /// All that is staged, if a whole frame is among it.
    pub fn take_group(&mut self) -> Option<Group<C>> {
        self.desk.stage.as_mut().and_then(Stage::take)
    }

    /// The group is where it should be: its frames are answered.
    pub fn settle(&mut self, mut group: Group<C>) {
        for (conn, crc) in group.frames.drain(..) {
            self.desk.answers.push(conn, crc);
        }
        self.desk.stage.as_mut().expect("a group comes from a stage").give_back(group);
    }

    /// The next connection that has answers due and had none before.
    pub fn next_ready(&mut self) -> Option<usize> {
        self.desk.answers.ready.pop()
    }

    /// The answers due to a connection, to be taken away by the caller.
    pub fn answers(&mut self, conn: usize) -> &mut Vec<u8> {
        &mut self.desk.answers.of[conn]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen {
        bytes: Vec<u8>,
        frames: Vec<(usize, u32)>,
    }

    impl FrameHandler for Seen {
        fn payload(&mut self, bytes: &[u8]) {
            self.bytes.extend(bytes);
        }

        fn frame(&mut self, conn: usize, crc: u32) {
            self.frames.push((conn, crc));
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        for payload in [1, 3, 200, 5000] {
            let tape = Tape::new(payload);
            for cut in [1, 2, 3, 7, 64, 1021, tape.bytes.len()] {
                let (mut parser, mut seen) = (Parser::default(), Seen::default());
                tape.bytes.chunks(cut).for_each(|piece| parser.feed(9, piece, &mut seen));
                let expected: Vec<_> = tape.checksums.iter().map(|crc| (9, *crc)).collect();
                assert_eq!(seen.frames, expected, "payload {payload} in pieces of {cut}");
                let payloads = tape.bytes.chunks(tape.frame).flat_map(|frame| &frame[HEAD..]);
                assert!(seen.bytes.iter().eq(payloads), "payload {payload} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn the_checksum_is_crc32c_and_an_empty_frame_has_one() {
        assert_eq!(checksum(b"123456789"), crc32c::crc32c(b"123456789"));
        let (mut parser, mut seen) = (Parser::default(), Seen::default());
        parser.feed(0, &[0, 0, 0, 0, 0, 0, 0, 1, 5], &mut seen);
        assert_eq!(seen.frames, [(0, 0), (0, checksum(&[5]))]);
    }
}
