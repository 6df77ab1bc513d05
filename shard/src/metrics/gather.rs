//! Asks every core for what only it can tell, piece after piece, and does not wait for one that hangs. On the admin thread, which
//! in the line of cores comes after the checker.

use super::tell::{Tell, What};
use crate::core::Post;
use crate::io::uring::Wakers;
use crate::mail::Mail;
use ringlog_engine::types::CoreId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the cores are waited for, all pieces together.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Gather {
    post: Post,
    wakers: Arc<Wakers>,
    cores: usize,
    last_id: u64,
    /// By core: it has a question that it has not answered. It gets no other.
    asked: Vec<bool>,
}

impl Gather {
    pub fn new(post: Post, wakers: Arc<Wakers>, cores: usize) -> Gather {
        Gather { post, wakers, cores, last_id: 0, asked: vec![false; cores] }
    }

    /// Asks all cores; `take` is called with each piece and the core that gave it. Returns which cores did not tell all.
    pub fn ask(&mut self, question: impl Fn() -> What, mut take: impl FnMut(usize, &What)) -> Vec<bool> {
        let until = Instant::now() + PATIENCE;
        self.last_id += 1;
        let id = self.last_id;
        self.take_late();
        let mut silent = vec![true; self.cores];
        let mut left = 0;
        for core in 0..self.cores {
            if !self.asked[core] {
                self.send(core, Box::new(Tell { id, what: question() }));
                left += 1;
            }
        }
        while left > 0 {
            self.post.flush(|core| self.wakers.ring_bell(usize::from(core.0)));
            let Some((core, mut tell)) = self.next(until) else { break };
            if tell.id != id {
                continue;
            }
            take(core, &tell.what);
            if tell.what.go_on() {
                self.send(core, tell);
            } else {
                silent[core] = false;
                left -= 1;
            }
        }
        silent
    }

    fn send(&mut self, core: usize, tell: Box<Tell>) {
        self.asked[core] = true;
        self.post.send(CoreId(core as u16), Mail::Tell(tell));
    }

    /// The next answer, old ones included.
    fn next(&mut self, until: Instant) -> Option<(usize, Box<Tell>)> {
        let me = self.cores + 1;
        loop {
            if let Some(found) = self.pop() {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.post.parked[me].park();
            if !self.post.waiting() {
                self.wakers.wait_at_most(me, left);
            }
            self.post.parked[me].unpark();
        }
    }

    fn pop(&mut self) -> Option<(usize, Box<Tell>)> {
        for core in 0..self.cores {
            match self.post.from[core].pop() {
                Some(Mail::Tell(tell)) => {
                    self.asked[core] = false;
                    return Some((core, tell));
                }
                Some(mail) => panic!("core {core} sent the admin thread {mail:?}"),
                None => {}
            }
        }
        None
    }

    /// Answers that came when nobody waited for them any more.
    fn take_late(&mut self) {
        while self.pop().is_some() {}
    }
}
