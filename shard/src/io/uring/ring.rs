//! The submission side of the ring: queues entries, counts what the kernel still holds, names completions.

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode, squeue, types};
use std::collections::VecDeque;
use std::io;

/// What a completion belongs to; the upper 8 bits of its user data, an index the lower 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A listener's multishot accept; by listener.
    Accept = 1,
    /// A connection's multishot receive; by connection slot.
    Receive,
    /// The cancellation of that receive, or of everything on the connection.
    Cancel,
    /// The closing of a connection's descriptor.
    Close,
    /// A step of a send; by send slot.
    Send,
    /// A step of a file operation; by its slot.
    Disk,
    /// Another ring's message.
    Woken,
    /// A message to another ring that failed; by core. Success is not reported.
    Message,
    /// The wake-up descriptor became readable.
    Bell,
    /// The last cancellation, when the ring is taken down.
    Farewell,
}

impl Kind {
    pub(super) fn data(self, index: u32) -> u64 {
        (self as u64) << 56 | u64::from(index)
    }

    pub(super) fn of(data: u64) -> (Kind, u32) {
        const ALL: [Kind; 10] = [
            Kind::Accept,
            Kind::Receive,
            Kind::Cancel,
            Kind::Close,
            Kind::Send,
            Kind::Disk,
            Kind::Woken,
            Kind::Message,
            Kind::Bell,
            Kind::Farewell,
        ];
        let kind = ALL.get((data >> 56) as usize - 1);
        (*kind.unwrap_or_else(|| panic!("completion with unknown user data {data:#x}")), data as u32)
    }
}

/// The ring and what was submitted to it. This core only.
pub(super) struct Ring {
    pub(super) inner: IoUring,
    /// Operations whose last completion has not been reaped.
    pub(super) in_flight: usize,
    /// Operations queued so far.
    pub(super) submissions: u64,
    /// Entries that found the submission queue full and the kernel busy.
    backlog: VecDeque<squeue::Entry>,
}

impl Ring {
    pub(super) fn new(inner: IoUring) -> Ring {
        Ring { inner, in_flight: 0, submissions: 0, backlog: VecDeque::new() }
    }

    /// Queues an operation. What it points to must stay where it is until its last completion.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        self.push_uncounted(entry);
    }

    fn push_uncounted(&mut self, entry: squeue::Entry) {
        self.submissions += 1;
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.submit();
            self.feed();
            if !self.backlog.is_empty() || !self.try_push(&entry) {
                self.backlog.push_back(entry);
            }
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: operations are built from memory that their slot in this module's tables keeps until their last completion.
        unsafe { self.inner.submission().push(entry) }.is_ok()
    }

    /// Moves the backlog into the submission queue, as far as there is room.
    fn feed(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Sends a wake-up to another ring; only failure answers, as `Message`.
    pub(super) fn message(&mut self, ring_fd: i32, core: u16) {
        let entry = opcode::MsgRingData::new(types::Fd(ring_fd), 0, Kind::Woken.data(0), None).build();
        self.push_uncounted(entry.user_data(Kind::Message.data(u32::from(core))).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Cancels one operation by its user data.
    pub(super) fn cancel(&mut self, data: u64, answer: u64) {
        self.push(opcode::AsyncCancel::new(data).build().user_data(answer));
    }

    /// Submits what is queued and runs what the kernel deferred, without waiting. Enters the kernel only if there is a reason.
    pub(super) fn submit(&mut self) {
        self.feed();
        let queue = self.inner.submission();
        let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        if !idle {
            tolerate(self.inner.submit().map(drop), "submitting");
        }
    }

    /// Submits, and waits for a completion, for at most `micros`.
    pub(super) fn wait(&mut self, micros: Option<u64>) {
        self.feed();
        let time = micros.map(|m| Timespec::new().sec(m / 1_000_000).nsec((m % 1_000_000) as u32 * 1000));
        let args = match &time {
            Some(time) => SubmitArgs::new().timespec(time),
            None => SubmitArgs::new(),
        };
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if self.inner.params().is_feature_no_iowait() {
            // Waiting for peers is not waiting for a disk: an idle core is to look idle.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let queued = self.inner.submission().len() as u32;
        // SAFETY: the flags say that the argument is of this type, and it lives through the call.
        let result = unsafe { self.inner.submitter().enter(queued, 1, flags.bits(), Some(&args)) };
        tolerate(result.map(drop), "waiting");
    }

    /// Whether completions can be reaped without entering the kernel.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.inner.completion().is_empty()
    }

    /// Whether the kernel has work for this thread, which then produces completions.
    pub(super) fn has_deferred(&mut self) -> bool {
        let queue = self.inner.submission();
        queue.taskrun() || queue.cq_overflow()
    }
}

/// A signal, a full completion queue or a passing shortage is no failure: the next turn goes on. Anything else is our bug.
fn tolerate(result: io::Result<()>, what: &str) {
    if let Err(error) = result {
        let passing = [libc::EINTR, libc::EBUSY, libc::EAGAIN, libc::ETIME];
        let errno = error.raw_os_error().unwrap_or(0);
        assert!(passing.contains(&errno), "io_uring_enter failed with {errno} while {what}: {error}");
    }
}
