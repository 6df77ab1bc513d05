//! Answers to the admin thread's questions (`metrics/tell.rs`): a piece of what there is, and where to go on.

use super::Shard;
use super::control::METADATA_KEY;
use crate::io::Io;
use crate::mail::Mail;
use crate::metrics::tell::{ClientLine, PIECE, PartitionLine, Tell, What};
use ringlog_engine::types::CoreId;

impl<I: Io> Shard<I> {
    pub(super) fn on_tell(&mut self, mut tell: Box<Tell>) {
        match &mut tell.what {
            What::Partitions { from, lines } => *from = self.tell_partitions(from.unwrap_or(0), lines),
            What::Groups { from, lines } => *from = from.take().and_then(|from| self.groups.tell(from, lines)),
            What::Clients { from, lines } => *from = self.tell_clients(from.unwrap_or(0), lines),
        }
        self.post.send(CoreId(self.setup.cores + 1), Mail::Tell(tell));
    }

    fn tell_partitions(&self, from: u32, lines: &mut Vec<PartitionLine>) -> Option<u32> {
        let (piece, next) = self.store.piece(from, PIECE);
        for p in piece.filter(|p| p.key != METADATA_KEY) {
            lines.push(PartitionLine {
                topic: p.topic.clone(),
                partition: p.key.partition,
                dir: p.dir,
                high_watermark: p.log.high_watermark(),
                log_start: p.log.log_start(),
                bytes: p.log.bytes(),
                segments: p.log.segments().len(),
                producers: p.log.producers.len(),
                appended_bytes: p.appended_bytes,
                read_bytes: p.read_bytes,
            });
        }
        next
    }

    fn tell_clients(&self, from: u32, lines: &mut Vec<ClientLine>) -> Option<u32> {
        let to = self.conns.len().min(from as usize + PIECE);
        for conn in self.conns[(from as usize).min(to)..to].iter().flatten() {
            lines.push(ClientLine {
                peer: conn.peer,
                client_id: conn.client_id.clone(),
                connected_ms: self.now.mono.0 - conn.opened.0,
                requests: conn.next_request(),
                request_bytes: conn.request_bytes,
                response_bytes: conn.response_bytes,
            });
        }
        (to < self.conns.len()).then_some(to as u32)
    }
}
