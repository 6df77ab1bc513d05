//! A producer's transactions, one after the other: partitions are added, so many records are written, the transaction is committed
//! once all are acknowledged. Speaks to the coordinator on a connection of its own.

use super::core::{Shared, Timer};
use super::wire::Wire;
use super::writer::Part;
use crate::peer::Answer;

/// A transaction before this one is still being written: ask again.
const CONCURRENT: i16 = 51;
/// How long to wait before asking again.
const AGAIN_AFTER: u64 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No transaction.
    None,
    Adding,
    Open,
    Ending,
    /// The coordinator was not ready until this time.
    Later(u64),
}

#[derive(Debug)]
pub(super) struct Transaction {
    id: String,
    identity: (i64, i16),
    /// The coordinator's connection.
    pub(super) conn: usize,
    records: u64,
    written: u64,
    state: State,
}

impl Transaction {
    pub(super) fn new(id: String, identity: (i64, i16), conn: usize, records: u32) -> Transaction {
        Transaction { id, identity, conn, records: u64::from(records), written: 0, state: State::None }
    }

    pub(super) fn may_write(&self) -> bool {
        self.state == State::Open && self.written < self.records
    }

    /// So many records were written into it. Answers its id.
    pub(super) fn wrote(&mut self, records: u64) -> &str {
        self.written += records;
        &self.id
    }

    /// Nothing is begun that must be ended.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state, State::None | State::Later(_)) || self.state == State::Open && self.written == 0
    }

    /// Goes on as far as it can. `more`: there is, or will be, something to write; `idle`: nothing waits for an answer.
    pub(super) fn go_on(&mut self, shared: &mut Shared, wire: &mut Wire, parts: &[Part], more: bool, idle: bool) {
        if matches!(self.state, State::Later(time) if time <= shared.now) {
            self.state = if self.written > 0 { State::Open } else { State::None };
        }
        match self.state {
            State::None if more => {
                self.add(shared, wire, parts);
                self.state = State::Adding;
            }
            State::Open if idle && (self.written >= self.records || self.written > 0 && !more) => {
                let (id, (producer, epoch)) = (&self.id, self.identity);
                wire.request(26, 1, |body| body.text(id).i64(producer).i16(epoch).i8(1));
                self.state = State::Ending;
            }
            _ => {}
        }
    }

    fn add(&self, shared: &Shared, wire: &mut Wire, parts: &[Part]) {
        let plan = &shared.plan;
        wire.request(24, 1, |body| {
            let topics: Vec<&[Part]> =
                parts.chunk_by(|a, b| a.place / plan.partitions() == b.place / plan.partitions()).collect();
            let mut body = body.text(&self.id).i64(self.identity.0).i16(self.identity.1).i32(topics.len() as i32);
            for parts in topics {
                body = body.text(plan.topic(parts[0].place).0).i32(parts.len() as i32);
                for part in parts {
                    body = body.i32(plan.topic(part.place).1);
                }
            }
            body
        });
    }

    /// The coordinator answered.
    pub(super) fn answer(&mut self, shared: &mut Shared, writer_conn: usize, reply: &[u8]) -> Result<(), String> {
        let code = match self.state {
            State::Adding => added(reply),
            State::Ending => Answer(reply.get(4..).unwrap_or(&[])).i16(),
            _ => return Err("an answer to no question about a transaction".to_string()),
        };
        let code = code.map_err(|e| format!("an answer about a transaction: {e}"))?;
        match (code, self.state) {
            (0, State::Adding) => self.state = State::Open,
            (0, _) => {
                self.written = 0;
                self.state = State::None;
            }
            (CONCURRENT, _) => {
                self.state = State::Later(shared.now + AGAIN_AFTER);
                shared.timer(shared.now + AGAIN_AFTER, Timer::Writer(writer_conn));
            }
            (code, _) => return Err(format!("the broker refused a transaction: {}", super::named(code))),
        }
        Ok(())
    }
}

/// The first error of an answer to AddPartitionsToTxn.
fn added(body: &[u8]) -> std::io::Result<i16> {
    let mut answer = Answer(body);
    answer.i32()?;
    for _ in 0..answer.i32()? {
        answer.text()?;
        for _ in 0..answer.i32()? {
            answer.i32()?;
            let code = answer.i16()?;
            if code != 0 {
                return Ok(code);
            }
        }
    }
    Ok(0)
}
