// Loaded into a real broker (LD_PRELOAD), on every thread of it: counts what allocates, frees and maps memory, and every futex
// call, by thread, into a file that the test reads. While the test measures, it also notes from where.
//
// The allocator's functions are found before libc's own. Futex calls are caught in the kernel, whoever makes them: a seccomp filter
// answers them with a signal, and its handler counts and then makes the call from the one place that the filter lets through.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { ALLOCATE, REALLOCATE, RELEASE, MAP, FUTEX, KINDS };
enum { IDLE, WATCH, MEASURE };
enum { THREADS = 64, SITES = 4096, DEPTH = 28, OWN_FRAMES = 2 };

// The file's layout; the test reads it by these offsets.
struct thread {
    uint64_t tid;
    // 0: no filter yet, 1: futex calls are caught, else a negative errno.
    int64_t filter;
    _Atomic uint64_t counts[KINDS];
};
struct site {
    _Atomic uint64_t hash;
    _Atomic uint64_t count, bytes;
    uint64_t thread, kind;
    uint64_t frames[DEPTH];
};
struct file {
    _Atomic uint64_t phase, threads;
    struct thread thread[THREADS];
    struct site site[SITES];
};

static struct file *file;
static int (*clock_of_libc)(clockid_t, struct timespec *);
static __thread struct thread *mine __attribute__((tls_model("initial-exec")));
static __thread int inside __attribute__((tls_model("initial-exec")));

// A system call from a place of its own: `counted_from` is the address behind its instruction.
long direct(long number, long a, long b, long c, long d, long e, long f);
extern const char counted_from[];
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
__asm__(".text\n.type direct,@function\ndirect:\n"
        "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\nmov 8(%rsp),%r9\n"
        "syscall\ncounted_from:\nret\n");
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
__asm__(".text\n.type direct,%function\ndirect:\n"
        "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nmov x4,x5\nmov x5,x6\n"
        "svc #0\ncounted_from:\nret\n");
#else
#error "how a system call is made on this machine is not known here"
#endif

static void note_site(int kind, uint64_t bytes) {
    void *frames[DEPTH + OWN_FRAMES];
    int depth = backtrace(frames, DEPTH + OWN_FRAMES);
    uint64_t thread = mine - file->thread, hash = 14695981039346656037u ^ (thread * KINDS + kind + 1);
    for (int k = OWN_FRAMES; k < depth; k++) hash = (hash ^ (uintptr_t)frames[k]) * 1099511628211u;
    for (unsigned probe = 0; probe < SITES; probe++) {
        struct site *site = &file->site[(hash + probe) % SITES];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&site->hash, &found, hash)) {
            site->thread = thread;
            site->kind = kind;
            for (int k = OWN_FRAMES; k < depth; k++) site->frames[k - OWN_FRAMES] = (uintptr_t)frames[k];
        } else if (found != hash) {
            continue;
        }
        atomic_fetch_add(&site->count, 1);
        atomic_fetch_add(&site->bytes, bytes);
        return;
    }
}

static void note(int kind, uint64_t bytes) {
    if (!file || inside) return;
    inside = 1;
    int before = errno;
    if (!mine) {
        uint64_t at = atomic_fetch_add(&file->threads, 1);
        if (at >= THREADS) abort();
        mine = &file->thread[at];
        mine->tid = direct(SYS_gettid, 0, 0, 0, 0, 0, 0);
    }
    atomic_fetch_add(&mine->counts[kind], 1);
    if (atomic_load(&file->phase) == MEASURE) note_site(kind, bytes);
    errno = before;
    inside = 0;
}

static void on_futex(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    note(FUTEX, 0);
#if defined(__x86_64__)
    greg_t *r = m->gregs;
    r[REG_RAX] = direct(r[REG_RAX], r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]);
#else
    unsigned long long *r = m->regs;
    r[0] = direct(r[8], r[0], r[1], r[2], r[3], r[4], r[5]);
#endif
}

// Futex calls of the calling thread are caught from now on. One is made, so that the test sees that it is counted.
static void catch_futexes(void) {
    uint64_t from = (uintptr_t)counted_from;
    // Let through: everything but futex, futex_waitv (449) and futex_wake, futex_wait, futex_requeue (454 to 456), and those from `direct`.
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 10),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 449, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 454, 0, 6),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 456, 5, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)from, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(from >> 32), 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };
    inside = 1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int failed = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    mine->filter = failed ? -errno : 1;
    inside = 0;
    static int nobody;
    syscall(SYS_futex, &nobody, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("RINGLOG_COUNTING");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *memory = mmap(0, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) abort();
    clock_of_libc = dlsym(RTLD_NEXT, "clock_gettime");
    // The first backtrace loads a library.
    void *frames[1];
    backtrace(frames, 1);
    struct sigaction action = { .sa_sigaction = on_futex, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGSYS, &action, 0);
    file = memory;
}

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void __libc_free(void *);

void *malloc(size_t n) {
    note(ALLOCATE, n);
    return __libc_malloc(n);
}

void *calloc(size_t count, size_t n) {
    note(ALLOCATE, count * n);
    return __libc_calloc(count, n);
}

void *realloc(void *p, size_t n) {
    note(REALLOCATE, n);
    return __libc_realloc(p, n);
}

void *memalign(size_t align, size_t n) {
    note(ALLOCATE, n);
    return __libc_memalign(align, n);
}

void *aligned_alloc(size_t align, size_t n) {
    note(ALLOCATE, n);
    return __libc_memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n) {
    note(ALLOCATE, n);
    void *p = __libc_memalign(align, n);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}

void free(void *p) {
    if (p) note(RELEASE, 0);
    __libc_free(p);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    note(MAP, n);
    long result = direct(SYS_mmap, (long)at, n, protection, flags, fd, offset);
    if (result < 0 && result > -4096) {
        errno = -result;
        return MAP_FAILED;
    }
    return (void *)result;
}

void *mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return mmap(at, n, protection, flags, fd, offset);
}

int munmap(void *at, size_t n) {
    note(MAP, n);
    long result = direct(SYS_munmap, (long)at, n, 0, 0, 0, 0);
    if (result < 0) errno = -result;
    return result < 0 ? -1 : 0;
}

// The clock is read in every turn: the moment at which a running thread gets its filter.
int clock_gettime(clockid_t clock, struct timespec *time) {
    if (file && mine && !mine->filter && !inside && atomic_load(&file->phase) >= WATCH) catch_futexes();
    if (clock_of_libc) return clock_of_libc(clock, time);
    long result = direct(SYS_clock_gettime, clock, (long)time, 0, 0, 0, 0);
    if (result < 0) errno = -result;
    return result < 0 ? -1 : 0;
}
