//! What the kernel is told of a thread that is no core.

/// How nice the thread is that works beside the cores: where a core is busy all the time, it gets about a tenth of the CPU.
const NICE: i32 = 10;

/// Lets threads that serve go before this one, on whatever CPU they meet.
pub fn stand_back() {
    // SAFETY: a plain system call about the calling thread: it takes numbers, touches no memory, and may always be nicer.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        eprintln!("warning: a thread could not be made nicer: {}", std::io::Error::last_os_error());
    }
}
