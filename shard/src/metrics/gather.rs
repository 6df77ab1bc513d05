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
    patience: Duration,
    last_id: u64,
    /// By core: it has a question that it has not answered. It gets no other.
    asked: Vec<bool>,
}

impl Gather {
    pub fn new(post: Post, wakers: Arc<Wakers>, cores: usize) -> Gather {
        Gather { post, wakers, cores, patience: PATIENCE, last_id: 0, asked: vec![false; cores] }
    }

    /// Asks all cores; `take` is called with each piece and the core that gave it. Returns which cores did not tell all.
    pub fn ask(&mut self, question: impl Fn() -> What, mut take: impl FnMut(usize, &What)) -> Vec<bool> {
        let until = Instant::now() + self.patience;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::queue::{Parked, channel};
    use crate::metrics::tell::ClientLine;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SOON: Duration = Duration::from_millis(1);

    /// Two cores that answer when the test makes them, the checker, and the admin thread.
    fn posts() -> Vec<Post> {
        let parked: Arc<[Parked]> = (0..4).map(|_| Parked::new()).collect();
        let mut from: [Vec<_>; 4] = Default::default();
        let to = [(); 4].map(|()| {
            let queues = from.each_mut().map(|receivers| {
                let (sender, receiver) = channel(2);
                receivers.push(receiver);
                sender
            });
            Vec::from(queues)
        });
        to.into_iter().zip(from).map(|(to, from)| Post::new(to, from, parked.clone())).collect()
    }

    /// A core answers what it was asked with one line a piece, so many pieces.
    fn answer(core: &mut Post, pieces: u32) -> usize {
        let mut answered = 0;
        while let Some(mail) = core.from[3].pop() {
            let Mail::Tell(mut tell) = mail else { panic!("{mail:?} is no question") };
            let What::Clients { from, lines } = &mut tell.what else { panic!("{tell:?} was not asked") };
            assert!(lines.is_empty() && lines.capacity() > 0);
            let piece = from.expect("a place to go on from");
            *from = (piece + 1 < pieces).then_some(piece + 1);
            let (peer, requests) = (([127, 0, 0, 1], 1).into(), u64::from(piece));
            let (connected_ms, request_bytes, response_bytes) = (0, 0, 0);
            let client_id = None;
            lines.push(ClientLine { peer, client_id, connected_ms, requests, request_bytes, response_bytes });
            core.send(CoreId(3), Mail::Tell(tell));
            answered += 1;
        }
        core.flush(|_| {});
        answered
    }

    #[test]
    fn a_core_that_hangs_is_told_as_silent_and_not_asked_again_until_it_has_answered() {
        let mut posts = posts();
        let wakers = Wakers::new(4).unwrap();
        let mut gather = Gather::new(posts.remove(3), wakers.clone(), 2);
        gather.patience = SOON;
        let [first, second, ..] = posts.as_mut_slice() else { panic!("four posts") };
        for _ in 0..5 {
            assert_eq!(gather.ask(What::clients, |core, _| panic!("core {core} told")), [true, true]);
        }
        // What they were asked first comes at last, once, and is not taken for an answer to what is asked next.
        assert_eq!((answer(first, 3), answer(second, 1)), (1, 1));
        gather.patience = Duration::from_secs(60);
        let (done, mut told) = (AtomicBool::new(false), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if answer(first, 3) + answer(second, 1) > 0 {
                        wakers.ring_bell(3);
                    }
                    std::thread::yield_now();
                }
            });
            let silent = gather.ask(What::clients, |core, what| {
                let What::Clients { lines, .. } = what else { panic!("{what:?} was not asked") };
                told.push((core, lines[0].requests));
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(silent, [false, false]);
        });
        told.sort_unstable();
        assert_eq!(told, [(0, 0), (0, 1), (0, 2), (1, 0)]);
    }
}
