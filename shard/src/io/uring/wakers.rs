//! How cores (and threads that are no cores, such as a signal handler's) make a core's `poll` return, and the checker's sleep end.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// For each core, its ring's descriptor once it runs, and a bell (eventfd) that always works; for a thread without a ring, the
/// bell alone. Shared by all threads.
#[derive(Debug)]
pub struct Wakers {
    /// -1 while a core has no ring.
    rings: Box<[AtomicI32]>,
    bells: Box<[OwnedFd]>,
}

impl Wakers {
    pub fn new(cores: usize) -> io::Result<Arc<Wakers>> {
        let bells = (0..cores).map(|_| bell()).collect::<io::Result<_>>()?;
        Ok(Arc::new(Wakers { rings: (0..cores).map(|_| AtomicI32::new(-1)).collect(), bells }))
    }

    /// Makes a core's `poll` return, from any thread: also one that has no ring, also before that core's ring exists.
    pub fn ring_bell(&self, core: usize) {
        // It fails only when interrupted before anything was written.
        while nix::unistd::write(&self.bells[core], &1u64.to_ne_bytes()) == Err(nix::errno::Errno::EINTR) {}
    }

    /// Sleeps until the bell was rung since the last time: for a thread without a ring.
    pub fn wait(&self, sleeper: usize) {
        // It fails only when interrupted: then the sleeper looks around for nothing.
        let _ = nix::unistd::read(&self.bells[sleeper], &mut [0; 8]);
    }

    /// The same, but not for longer than this.
    pub fn wait_at_most(&self, sleeper: usize, time: Duration) {
        let bell = self.bells[sleeper].as_fd();
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(bell, PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0) {
            self.wait(sleeper);
        }
    }

    pub(super) fn set_ring(&self, core: usize, fd: RawFd) {
        self.rings[core].store(fd, Ordering::Release);
    }

    pub(super) fn ring(&self, core: usize) -> Option<RawFd> {
        let fd = self.rings[core].load(Ordering::Acquire);
        (fd >= 0).then_some(fd)
    }

    pub(super) fn bell(&self, core: usize) -> RawFd {
        self.bells[core].as_raw_fd()
    }
}

fn bell() -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; the descriptor it answers is ours alone.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
