/* Preloaded into a process (LD_PRELOAD), this makes the kernel hand it what comes over TCP in small pieces.
 *
 * A relay that writes single bytes would not do: the receiving kernel joins what lies in its buffer, and a
 * program then reads many bytes at once. Here every read is short for certain, and it is counted.
 *
 *     SHORT_READS=one          one byte at a time
 *     SHORT_READS=random:SEED  1 to 400 bytes, half of the pieces under 16
 *     SHORT_READS_COUNT=FILE   16 bytes: reads that gave bytes, and bytes (native 64-bit)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t (*next_read)(int, void *, size_t);
static ssize_t (*next_recv)(int, void *, size_t, int);
static int random_pieces;
static uint64_t dice = 88172645463325252u;
static uint64_t unmapped[2];
static uint64_t *counted = unmapped;

/* Other libraries read before any constructor of ours. */
static void find(void) {
    next_read = dlsym(RTLD_NEXT, "read");
    next_recv = dlsym(RTLD_NEXT, "recv");
}

__attribute__((constructor)) static void begin(void) {
    const char *how = getenv("SHORT_READS");
    if (how && !strncmp(how, "random:", 7)) {
        random_pieces = 1;
        dice ^= strtoull(how + 7, NULL, 10) * 2654435769u;
    }
    const char *path = getenv("SHORT_READS_COUNT");
    int file = path ? open(path, O_RDWR) : -1;
    if (file >= 0) {
        void *map = mmap(NULL, sizeof unmapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (map != MAP_FAILED) counted = map;
        close(file);
    }
}

static int is_tcp(int fd) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size)) return 0;
    return name.ss_family == AF_INET || name.ss_family == AF_INET6;
}

static size_t piece(size_t wanted) {
    size_t most = 1;
    if (random_pieces) {
        dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
        most = dice & 1 ? 1 + (dice >> 8) % 15 : 1 + (dice >> 8) % 400;
    }
    return wanted < most ? wanted : most;
}

static ssize_t note(ssize_t got) {
    if (got > 0) {
        __atomic_add_fetch(&counted[0], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&counted[1], (uint64_t)got, __ATOMIC_RELAXED);
    }
    return got;
}

ssize_t read(int fd, void *into, size_t size) {
    if (!next_read) find();
    return is_tcp(fd) ? note(next_read(fd, into, piece(size))) : next_read(fd, into, size);
}

ssize_t recv(int fd, void *into, size_t size, int flags) {
    if (!next_recv) find();
    return is_tcp(fd) ? note(next_recv(fd, into, piece(size), flags)) : next_recv(fd, into, size, flags);
}

ssize_t __read_chk(int fd, void *into, size_t size, size_t room) {
    (void)room;
    return read(fd, into, size);
}

ssize_t __recv_chk(int fd, void *into, size_t size, size_t room, int flags) {
    (void)room;
    return recv(fd, into, size, flags);
}
