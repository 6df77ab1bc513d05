//! The seam between simulated clients and the simulated world: a client is told what happened to it and says what it does next.
//!
//! An actor is one client process: it has any number of connections and timers, no clock and no randomness but what it is
//! given, and it speaks Kafka's protocol in bytes. The world delivers, delays, splits, merges and loses.

use crate::referee::history::What;

/// A connection of an actor, by the actor's own number. Never reused in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link(pub u32);

/// What happened to an actor.
#[derive(Debug)]
pub enum Happened<'a> {
    /// Its first event.
    Started,
    Connected(Link),
    /// Some bytes of the stream, split and merged at will.
    Received(Link, &'a [u8]),
    /// The connection is gone: refused, reset or closed by the broker. What was sent on it may have arrived.
    Lost(Link),
    Timer(u64),
    /// End what you began, as a client that is closed would, and call nothing new. The actor says [`Action::Finished`] when it has.
    Finish,
}

/// What an actor does.
#[derive(Debug)]
pub enum Action {
    /// To the broker's listener of this index.
    Connect(Link, u16),
    Send(Link, Vec<u8>),
    Close(Link),
    /// Microseconds from now. Setting one again moves it.
    SetTimer(u64, u64),
    /// An event of the history, stamped by the world.
    Tell(What),
    Finished,
}

/// The time as an actor is told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Microseconds since the run began.
    pub mono: u64,
    /// The actor's wall clock, ms since 1970; it may jump.
    pub wall: i64,
}

/// A simulated client process.
pub trait Actor {
    fn happened(&mut self, clock: Clock, what: Happened<'_>, actions: &mut Vec<Action>);
    /// Its name in traces.
    fn name(&self) -> String;
}
