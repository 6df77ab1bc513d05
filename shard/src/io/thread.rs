//! What the kernel is told of threads that share a CPU.

/// How nice the thread is that works beside the cores: where a core is busy all the time, it gets about a tenth of the CPU.
const NICE: i32 = 10;

/// Lets threads that serve go before this one, on whatever CPU they meet.
pub fn stand_back() {
    // SAFETY: a plain system call about the calling thread: it takes numbers, touches no memory, and may always be nicer.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        eprintln!("warning: a thread could not be made nicer: {}", std::io::Error::last_os_error());
    }
}

/// For a core that shares its CPU with another: neither is interrupted by what the other wakes it for, both end their turns. A
/// turn then gathers what the other's turn sent, instead of its first piece. The kernel's workers for its ring are made alike.
pub fn take_turns() {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: a system call about the calling thread; it reads the parameter, which lives until it returns.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) } != 0 {
        eprintln!("warning: cores that share a CPU interrupt each other: {}", std::io::Error::last_os_error());
    }
}
