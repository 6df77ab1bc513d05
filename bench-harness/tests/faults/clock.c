// A wall clock that can be stepped while the process runs: by as many seconds as the file RINGLOG_CLOCK says, which is mapped.
// Time since the start of the machine (CLOCK_MONOTONIC) goes on as it is, as it does when somebody sets the clock.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("RINGLOG_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) ahead = mapped;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    long result = syscall(SYS_clock_gettime, id, at);
    if (id == CLOCK_REALTIME && ahead) at->tv_sec += *ahead;
    return result;
}
