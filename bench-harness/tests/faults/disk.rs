//! A disk that fails on demand: a file served through /dev/fuse, a loop device on it, ext4 on that. What the file system asks of
//! its device arrives here, in a thread of the test, and is carried out, refused with EIO, or held.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use ringlog_bench_harness::broker::target_dir;
use ringlog_bench_harness::wait::PATIENCE;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the disk; the file behind it is sparse.
const SIZE: u64 = 1 << 30;
/// Most the kernel asks to be written at once, and room for the head of such a request.
const WRITE_MAX: u32 = 1 << 20;
const REQUEST_MAX: usize = WRITE_MAX as usize + 8192;
/// Of a request's head, and of the head of a read or write in it.
const HEAD: usize = 40;
const WRITE_HEAD: usize = 40;
/// The two inodes: the folder and the file in it.
const FOLDER: u64 = 1;
const FILE: u64 = 2;
/// Folders where the file and where the file system on it is mounted.
const SERVED: &str = "fuse";
const MOUNTED: &str = "mounted";
const NAME: &[u8] = b"disk\0";
/// How long the kernel may believe a name and attributes.
const VALID_SECONDS: u64 = 3600;

/// What to do with what is asked, and what was asked so far.
#[derive(Default)]
struct Orders {
    /// The next flush fails, once.
    fail_flush: bool,
    /// Writes that contain this fail.
    fail_writes: Option<Vec<u8>>,
    /// Reads that would bring this fail.
    fail_reads: Option<Vec<u8>>,
    /// Flushes are not answered; these wait.
    hold: bool,
    held: Vec<u64>,
    /// How often something was refused.
    refused: u32,
}

/// What the test and the serving thread share.
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
    device: File,
    image: File,
}

/// A mounted disk; unmounted when dropped.
pub(crate) struct Disk {
    home: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

/// Whether such a disk can be had here. False, said aloud, where not; with `CI` set that is a panic.
pub(crate) fn possible() -> bool {
    let missing = if !may_mount() {
        "the right to mount"
    } else if !Path::new("/dev/fuse").exists() {
        "/dev/fuse"
    } else if !Path::new("/dev/loop-control").exists() {
        "/dev/loop-control"
    } else if Command::new("mkfs.ext4").arg("-V").output().is_err() {
        "mkfs.ext4"
    } else {
        return true;
    };
    not_tried(missing)
}

/// CAP_SYS_ADMIN, which root in a container may lack.
fn may_mount() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|may| may & SYS_ADMIN != 0)
}

fn not_tried(missing: &str) -> bool {
    let what = format!("not tried: a failing disk (missing: {missing})");
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("{what}");
    false
}

fn run(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output().expect("a program");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Unmounts and removes what test programs left that have ended in the middle of it.
fn forget_earlier_runs(tmp: &Path) {
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("disk-")?.rsplit('-').next()) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let home = entry.path();
            let _ = umount2(&home.join(MOUNTED), MntFlags::MNT_DETACH);
            let _ = umount2(&home.join(SERVED), MntFlags::MNT_DETACH);
            let _ = fs::remove_dir_all(home);
        }
    }
}

/// Unmounts once nobody uses it: what a process held goes a moment after the process.
fn unmount(at: &Path) -> bool {
    let begun = Instant::now();
    loop {
        match umount2(at, MntFlags::empty()) {
            Err(Errno::EBUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            result => return result.is_ok(),
        }
    }
}

impl Disk {
    /// A new one with an empty file system.
    pub(crate) fn new(name: &str) -> Disk {
        let tmp = target_dir().join("tmp");
        forget_earlier_runs(&tmp);
        let home = tmp.join(format!("disk-{name}-{}", std::process::id()));
        for folder in [SERVED, MOUNTED] {
            fs::create_dir_all(home.join(folder)).expect("target is writable");
        }
        let path = home.join("image");
        let image = File::options().read(true).write(true).create_new(true).open(&path).expect("target is writable");
        image.set_len(SIZE).expect("a sparse file");
        // Nothing is left to be done later: what reaches the device is what a test caused.
        let done = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run(&["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4", "-E", done, text(&path)]);
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        mount(Some("disk"), &home.join(SERVED), Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("root");
        let shared = Arc::new(Shared { orders: Mutex::default(), changed: Condvar::new(), device, image });
        let server = {
            let shared = shared.clone();
            std::thread::spawn(move || shared.serve())
        };
        let disk = Disk { home, shared, server: Some(server) };
        disk.mount();
        disk
    }

    fn mount(&self) {
        // The file system's own commits keep out of the way.
        let (file, at) = (self.home.join(SERVED).join("disk"), self.home.join(MOUNTED));
        run(&["mount", "-o", "loop,noatime,commit=300", text(&file), text(&at)]);
    }

    /// As after a restart of the machine: the file system recovers, and forgets what it has seen fail.
    pub(crate) fn remount(&self) {
        assert!(unmount(&self.home.join(MOUNTED)), "the file system is used");
        self.mount();
    }

    /// A log directory on it.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.join(MOUNTED).join("data")
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.shared.orders.lock().expect("nobody panicked"));
    }

    fn wait(&self, what: &str, so: impl Fn(&Orders) -> bool) {
        let orders = self.shared.orders.lock().expect("nobody panicked");
        let waited = self.shared.changed.wait_timeout_while(orders, PATIENCE, |orders| !so(orders));
        assert!(!waited.expect("nobody panicked").1.timed_out(), "not within {PATIENCE:?}: {what}");
    }

    /// The next flush fails, those after it do not: what a retry would be told.
    pub(crate) fn fail_flush(&self) {
        self.order(|orders| orders.fail_flush = true);
    }

    /// Writes that contain `mark` fail, until told otherwise.
    pub(crate) fn fail_writes(&self, mark: Option<&[u8]>) {
        self.order(|orders| orders.fail_writes = mark.map(<[u8]>::to_vec));
    }

    /// Reads that would bring `mark` fail, until told otherwise.
    pub(crate) fn fail_reads(&self, mark: Option<&[u8]>) {
        self.order(|orders| orders.fail_reads = mark.map(<[u8]>::to_vec));
    }

    /// Waits until something was refused.
    pub(crate) fn wait_refused(&self) {
        self.wait("a failure", |orders| orders.refused > 0);
    }

    /// Holds flushes from now on.
    pub(crate) fn hold_flushes(&self) {
        self.order(|orders| orders.hold = true);
    }

    /// Waits until a flush is held. Everything written before it is done then, and nothing of the device moves until it is let go.
    pub(crate) fn wait_held(&self) {
        self.wait("a flush", |orders| !orders.held.is_empty());
    }

    /// Lets held flushes go, and those to come.
    pub(crate) fn let_flushes_go(&self) {
        let mut orders = self.shared.orders.lock().expect("nobody panicked");
        orders.hold = false;
        for request in std::mem::take(&mut orders.held) {
            self.shared.reply(request, 0, &[]);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.order(|orders| {
            *orders = Orders { held: std::mem::take(&mut orders.held), ..Orders::default() };
        });
        self.let_flushes_go();
        if !unmount(&self.home.join(MOUNTED)) || !unmount(&self.home.join(SERVED)) {
            eprintln!("{} stays mounted", self.home.display());
            return;
        }
        let server = self.server.take().expect("only ended here").join();
        if !std::thread::panicking() {
            server.expect("it served");
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

fn contains(bytes: &[u8], mark: Option<&Vec<u8>>) -> bool {
    mark.is_some_and(|mark| bytes.windows(mark.len()).any(|window| window == mark))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// `struct fuse_attr` of an inode.
fn attributes(inode: u64) -> Vec<u8> {
    let (mode, size) = if inode == FOLDER { (0o040_755u32, 4096) } else { (0o100_600, SIZE) };
    let mut out = [inode, size, size / 512, 0, 0, 0].map(u64::to_le_bytes).concat();
    out.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat());
    out
}

/// Requests of `linux/fuse.h` that are answered.
mod op {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

impl Shared {
    /// Answers the kernel until the file system is unmounted.
    fn serve(&self) {
        let mut request = vec![0; REQUEST_MAX];
        loop {
            match (&self.device).read(&mut request) {
                Ok(len) => self.answer(&request[..len]),
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
                // A request that was taken back, or a signal.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {}
                Err(error) => panic!("/dev/fuse: {error}"),
            }
        }
    }

    fn answer(&self, request: &[u8]) {
        let (code, unique, inode) = (word(request, 4), long(request, 8), long(request, 16));
        let body = &request[HEAD..];
        match code {
            op::INIT => self.reply(unique, 0, &Self::init(body)),
            op::LOOKUP if body == NAME => {
                let head = [FILE, 0, VALID_SECONDS, VALID_SECONDS, 0].map(u64::to_le_bytes).concat();
                self.reply(unique, 0, &[head, attributes(FILE)].concat());
            }
            op::LOOKUP => self.reply(unique, libc::ENOENT, &[]),
            op::GETATTR | op::SETATTR => {
                let head = [VALID_SECONDS, 0].map(u64::to_le_bytes).concat();
                self.reply(unique, 0, &[head, attributes(inode)].concat());
            }
            // No page cache: what is written arrives here, at once.
            op::OPEN => self.reply(unique, 0, &[0u64, 1].map(u64::to_le_bytes).concat()),
            op::READ => self.read(unique, long(body, 8), word(body, 16) as usize),
            op::WRITE => self.write(unique, long(body, 8), &body[WRITE_HEAD..]),
            op::FSYNC => self.flush(unique),
            op::FLUSH | op::RELEASE => self.reply(unique, 0, &[]),
            op::FORGET | op::BATCH_FORGET | op::INTERRUPT => {}
            _ => self.reply(unique, libc::ENOSYS, &[]),
        }
    }

    /// Version 7.31 of the protocol; large requests.
    fn init(asked: &[u8]) -> Vec<u8> {
        const BIG_WRITES: u32 = 1 << 5;
        const MAX_PAGES: u32 = 1 << 22;
        let flags = word(asked, 12) & (BIG_WRITES | MAX_PAGES);
        let mut out = [7, 31, word(asked, 8), flags].map(u32::to_le_bytes).concat();
        out.extend([64u16, 48].map(u16::to_le_bytes).concat());
        out.extend([WRITE_MAX, 1].map(u32::to_le_bytes).concat());
        out.extend((WRITE_MAX / 4096).to_le_bytes());
        out.resize(64, 0);
        out
    }

    fn refuse(&self, orders: &mut Orders, unique: u64) {
        orders.refused += 1;
        self.changed.notify_all();
        self.reply(unique, libc::EIO, &[]);
    }

    fn read(&self, unique: u64, at: u64, len: usize) {
        let mut bytes = vec![0; len];
        self.image.read_exact_at(&mut bytes, at).expect("inside the image");
        let mut orders = self.orders.lock().expect("nobody panicked");
        match contains(&bytes, orders.fail_reads.as_ref()) {
            true => self.refuse(&mut orders, unique),
            false => self.reply(unique, 0, &bytes),
        }
    }

    fn write(&self, unique: u64, at: u64, bytes: &[u8]) {
        let mut orders = self.orders.lock().expect("nobody panicked");
        if contains(bytes, orders.fail_writes.as_ref()) {
            return self.refuse(&mut orders, unique);
        }
        self.image.write_all_at(bytes, at).expect("inside the image");
        self.reply(unique, 0, &(bytes.len() as u64).to_le_bytes());
    }

    fn flush(&self, unique: u64) {
        let mut orders = self.orders.lock().expect("nobody panicked");
        if std::mem::take(&mut orders.fail_flush) {
            self.refuse(&mut orders, unique);
        } else if orders.hold {
            orders.held.push(unique);
            self.changed.notify_all();
        } else {
            self.reply(unique, 0, &[]);
        }
    }

    /// An answer to one request; `errno` 0 is none.
    fn reply(&self, unique: u64, errno: i32, body: &[u8]) {
        let len = (16 + body.len()) as u32;
        let answer = [&len.to_le_bytes()[..], &(-errno).to_le_bytes(), &unique.to_le_bytes(), body].concat();
        match (&self.device).write(&answer) {
            Ok(_) => {}
            // Whoever asked is gone, or the file system is.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
            Err(error) => panic!("/dev/fuse: {}", io::Error::other(error)),
        }
    }
}
