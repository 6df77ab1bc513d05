//! What the kernel and the file system must offer, how that is found out, and how its absence is told in one line.

use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::super::memory::BlockPool;

/// Why there is no ring. Its text is one line that says what and why, and what to do.
#[derive(Debug)]
pub enum SetupError {
    /// The kernel setting `kernel.io_uring_disabled` has this value and applies to us.
    Disabled(u8),
    /// A system-call filter (of a container, say) refuses io_uring.
    Filtered,
    /// The kernel was built without io_uring.
    Missing,
    /// The running kernel's release; 6.1 is the first that has what is needed.
    TooOld(String),
    /// Anything else, with what was being done.
    Other(&'static str, io::Error),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Disabled(value) => {
                write!(f, "io_uring is disabled by the kernel setting kernel.io_uring_disabled={value}: set it to 0")
            }
            SetupError::Filtered => {
                write!(
                    f,
                    "io_uring is refused by a system-call filter (seccomp): allow io_uring_setup, io_uring_enter and io_uring_register"
                )
            }
            SetupError::Missing => write!(f, "this kernel was built without io_uring (CONFIG_IO_URING)"),
            SetupError::TooOld(release) => write!(f, "the kernel is too old: {release} runs, 6.1 or newer is needed"),
            SetupError::Other(what, error) => write!(f, "io_uring: {what}: {error}"),
        }
    }
}

impl std::error::Error for SetupError {}

/// What the ring found, for the start banner. No memory is registered with the kernel: no locked memory (memlock) is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// Whether files are cut asynchronously (since 6.9); otherwise the loop waits for it.
    pub async_truncate: bool,
    /// Bytes a pipe takes at once in `send_file`: at most 1 MiB, less where `fs.pipe-max-size` or the user's allowance is.
    pub pipe_bytes: u32,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |y| if y { "yes" } else { "no" };
        write!(f, "kernel {}, async truncate: {}, ", self.kernel, yes(self.async_truncate))?;
        write!(f, "pipes of {} KiB", self.pipe_bytes / 1024)
    }
}

pub(super) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|s| s.trim().to_owned()).unwrap_or_else(|_| "unknown".into())
}

/// Major and minor version of a release such as "6.18.44-generic".
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Makes the ring, with `entries` submission slots and eight times as many for completions.
pub(super) fn build(entries: u32) -> Result<IoUring, SetupError> {
    let release = kernel_release();
    if version_of(&release).is_some_and(|v| v < (6, 1)) {
        return Err(SetupError::TooOld(release));
    }
    let mut builder = IoUring::builder();
    builder.setup_cqsize(entries * 8).setup_submit_all().setup_single_issuer();
    builder.setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
    builder.build(entries).map_err(|error| refusal(error, release))
}

fn refusal(error: io::Error, release: String) -> SetupError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => SetupError::Missing,
        Some(libc::EINVAL) => SetupError::TooOld(release),
        Some(libc::EPERM | libc::EACCES) => {
            let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match setting.ok().and_then(|s| s.trim().parse().ok()) {
                Some(value @ 1..) => SetupError::Disabled(value),
                _ => SetupError::Filtered,
            }
        }
        Some(libc::ENOMEM) => SetupError::Other("no memory for the ring (memlock too low?)", error),
        Some(libc::EMFILE) => SetupError::Other("no descriptor left for the ring (nofile too low)", error),
        _ => SetupError::Other("setup failed", error),
    }
}

/// Whether the kernel can cut files asynchronously; an error if it lacks something that cannot be done without.
pub(super) fn check_opcodes(ring: &IoUring) -> Result<bool, SetupError> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|e| SetupError::Other("probing operations", e))?;
    let needed = [
        (opcode::MsgRingData::CODE, "MSG_RING"),
        (opcode::Splice::CODE, "SPLICE"),
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::Fallocate::CODE, "FALLOCATE"),
        (opcode::RenameAt::CODE, "RENAMEAT"),
        (opcode::UnlinkAt::CODE, "UNLINKAT"),
        (opcode::MkDirAt::CODE, "MKDIRAT"),
    ];
    for (code, name) in needed {
        if !probe.is_supported(code) {
            return Err(SetupError::Other(name, io::Error::from(io::ErrorKind::Unsupported)));
        }
    }
    Ok(probe.is_supported(opcode::Ftruncate::CODE))
}

/// What direct I/O asks for in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectIo {
    /// Bytes that offsets and lengths in files must be multiples of; at most 4096. 0 if the kernel does not say.
    pub offset_alignment: u32,
    /// Bytes that memory addresses must be multiples of; at most 4096. 0 if the kernel does not say.
    pub memory_alignment: u32,
}

/// Why files in a folder cannot be used.
#[derive(Debug)]
pub enum DirectIoError {
    /// The file system takes no O_DIRECT.
    Unsupported,
    /// It takes it in larger units than 4096 bytes: this many.
    Coarse(u32),
    /// The folder cannot be written in.
    Unusable(io::Error),
}

impl fmt::Display for DirectIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectIoError::Unsupported => {
                write!(f, "the file system does not support direct I/O (O_DIRECT): use ext4 or XFS on a block device")
            }
            DirectIoError::Coarse(unit) => {
                write!(f, "direct I/O there is in units of {unit} bytes; 4096 is the most supported")
            }
            DirectIoError::Unusable(error) => write!(f, "cannot write there: {error}"),
        }
    }
}

impl std::error::Error for DirectIoError {}

/// Tries one direct 4096-byte write and read in a folder (in a file that is removed again). Blocks; for the start only.
pub fn probe_direct_io(folder: &Path) -> Result<DirectIo, DirectIoError> {
    let path = folder.join(format!(".ringlog-direct-io-{}", std::process::id()));
    let result = try_direct(&path);
    let removed = fs::remove_file(&path);
    match (&result, removed) {
        (Ok(_), Err(error)) => Err(DirectIoError::Unusable(error)),
        _ => result,
    }
}

fn try_direct(path: &Path) -> Result<DirectIo, DirectIoError> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(DirectIoError::Unusable)?;
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => DirectIoError::Unsupported,
        _ => DirectIoError::Unusable(error),
    };
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_DIRECT).open(path).map_err(refused)?;
    let found = alignment(&file);
    let unit = found.offset_alignment.max(found.memory_alignment);
    if unit > 4096 {
        return Err(DirectIoError::Coarse(unit));
    }
    let mut block = BlockPool::new(4096).take(4096).expect("one page");
    block.unwritten().fill(0xa5);
    file.write_all_at(block.unwritten(), 0).map_err(refused)?;
    block.unwritten().fill(0);
    file.read_exact_at(block.unwritten(), 0).map_err(refused)?;
    if block.unwritten().iter().any(|b| *b != 0xa5) {
        return Err(DirectIoError::Unsupported);
    }
    Ok(found)
}

/// What `statx` says, zeros if it does not (kernels before 6.1, some file systems).
fn alignment(file: &File) -> DirectIo {
    // SAFETY: all zeros is a valid `statx`; the path is an empty C string, and the kernel fills at most the struct.
    let stat = unsafe {
        let mut stat: libc::statx = std::mem::zeroed();
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &mut stat);
        stat
    };
    DirectIo { offset_alignment: stat.stx_dio_offset_align, memory_alignment: stat.stx_dio_mem_align }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_and_why() {
        let of = |errno| refusal(io::Error::from_raw_os_error(errno), "5.15.0-91-generic".into()).to_string();
        assert_eq!(of(libc::EINVAL), "the kernel is too old: 5.15.0-91-generic runs, 6.1 or newer is needed");
        assert!(of(libc::ENOSYS).contains("without io_uring"));
        assert!(of(libc::EPERM).contains("seccomp") || of(libc::EPERM).contains("kernel.io_uring_disabled="));
        assert!(SetupError::Disabled(2).to_string().ends_with("kernel.io_uring_disabled=2: set it to 0"));
        assert_eq!(version_of("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version_of("weird"), None);
    }

    #[test]
    fn direct_io_is_refused_where_it_cannot_work() {
        let absent = probe_direct_io(Path::new("/proc/self/no-such-folder"));
        assert!(matches!(absent, Err(DirectIoError::Unusable(_))), "{absent:?}");
    }
}
