//! The pipes through which file bytes reach sockets without passing user memory; kept for reuse, bounded in number.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The most a pipe is made to hold: larger ones gain nothing measurable.
const WANTED_BYTES: i32 = 1 << 20;

/// An empty pipe, or one that belongs to a send.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    bytes: u32,
}

impl Pipe {
    /// Makes a pipe of up to `wanted` bytes: as large as the system and this user's allowance permit.
    fn new(wanted: i32) -> Result<Pipe, Errno> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let mut size = wanted;
        // EPERM: above fs.pipe-max-size, or the user's pipes hold too many pages.
        while size > 4096 && fcntl(&write, FcntlArg::F_SETPIPE_SZ(size)).is_err() {
            size /= 2;
        }
        let bytes = fcntl(&write, FcntlArg::F_GETPIPE_SZ)? as u32;
        Ok(Pipe { read, write, bytes })
    }

    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(super) fn read_end(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    pub(super) fn write_end(&self) -> RawFd {
        self.write.as_raw_fd()
    }
}

/// A core's pipes.
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
    most: usize,
}

impl Pipes {
    /// At most `most` pipes (two descriptors each); the first is made now, to know its size.
    pub(super) fn new(most: usize) -> Result<Pipes, Errno> {
        let mut idle = Vec::with_capacity(most.max(1));
        idle.push(Pipe::new(WANTED_BYTES)?);
        Ok(Pipes { idle, made: 1, most: most.max(1) })
    }

    /// Bytes of the largest idle pipe, 0 if there is none.
    pub(super) fn bytes(&self) -> u32 {
        self.idle.iter().map(Pipe::bytes).max().unwrap_or(0)
    }

    /// An empty pipe; `Ok(None)` while all are in use. A lack of descriptors is an error only if no pipe is in use that
    /// could be waited for.
    pub(super) fn take(&mut self) -> Result<Option<Pipe>, i32> {
        if let Some(pipe) = self.idle.pop() {
            return Ok(Some(pipe));
        }
        if self.made == self.most {
            return Ok(None);
        }
        match Pipe::new(WANTED_BYTES) {
            Ok(pipe) => {
                self.made += 1;
                Ok(Some(pipe))
            }
            Err(_) if self.made > 0 => Ok(None),
            Err(errno) => Err(errno as i32),
        }
    }

    /// Takes an empty pipe back.
    pub(super) fn give(&mut self, pipe: Pipe) {
        self.idle.push(pipe);
    }

    /// Closes a pipe that may not be empty.
    pub(super) fn discard(&mut self, pipe: Pipe) {
        drop(pipe);
        self.made -= 1;
    }
}
