/* Replays prebuilt publishes on a socket that has finished its handshake, `window` unconfirmed at most.
 *
 * usage: replay FD FILE WINDOW PASSES
 * FILE: u64 count, u64 offsets[count + 1] (into the bytes that follow), the messages' frames; native byte order.
 * Prints: messages confirmed, seconds passed, CPU seconds of this process. A nack, a close or anything else that
 * is no confirm ends it with status 1 and the frame's method on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SILENCE_MS_MAX = 30000 };

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static uint64_t u64(const uint8_t *at) { return (uint64_t)u32(at) << 32 | u32(at + 4); }

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "replay: %s\n", what);
    exit(1);
}

/* Reads what is there; returns the number of messages confirmed so far. */
static uint64_t read_confirms(int fd, uint64_t confirmed) {
    static uint8_t buffer[1 << 16];
    static size_t used;
    ssize_t n = recv(fd, buffer + used, sizeof buffer - used, MSG_DONTWAIT);
    if (n == 0) fail("the proxy closed the connection");
    if (n < 0) return errno == EAGAIN ? confirmed : (fail(strerror(errno)), 0);
    used += (size_t)n;
    size_t at = 0;
    while (used - at >= 8 && used - at >= u32(buffer + at + 3) + 8) {
        const uint8_t *payload = buffer + at + 7;
        uint32_t size = u32(buffer + at + 3);
        if (buffer[at] == 1 && size == 13 && u32(payload) == (60u << 16 | 80)) {
            uint64_t tag = u64(payload + 4);
            confirmed = payload[12] ? tag : confirmed + 1;
        } else if (buffer[at] != 8) {
            fprintf(stderr, "replay: got method %u.%u: %.*s\n", payload[0] << 8 | payload[1],
                    payload[2] << 8 | payload[3], (int)(size > 7 ? size - 7 : 0), payload + 7);
            exit(1);
        }
        at += size + 8;
    }
    memmove(buffer, buffer + at, used - at);
    used -= at;
    return confirmed;
}

int main(int argc, char **argv) {
    if (argc != 5) return 64;
    int fd = atoi(argv[1]), file = open(argv[2], O_RDONLY);
    uint64_t window = strtoull(argv[3], NULL, 10), passes = strtoull(argv[4], NULL, 10);
    struct stat about;
    if (file < 0 || fstat(file, &about)) fail("no file of messages");
    const uint64_t *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (map == MAP_FAILED) fail("cannot map the messages");
    uint64_t count = map[0], total = count * passes;
    const uint64_t *offsets = map + 1;
    const uint8_t *bytes = (const uint8_t *)(map + count + 2);

    uint64_t confirmed = 0, started = 0; /* messages of which at least the first byte is due */
    uint64_t from = 0, to = 0;           /* bytes of this pass sent, and allowed by the window */
    uint64_t pass = 0;
    double begun = seconds(CLOCK_MONOTONIC);
    while (confirmed < total) {
        if (from == to && started < total && started - confirmed < window) {
            if (started == (pass + 1) * count) pass++, from = to = 0;
            uint64_t end = confirmed + window < (pass + 1) * count ? confirmed + window : (pass + 1) * count;
            to = offsets[end - pass * count];
            started = end;
        }
        if (from < to) {
            ssize_t n = send(fd, bytes + from, to - from, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) fail(strerror(errno));
            if (n > 0) from += (uint64_t)n;
        }
        struct pollfd polled = {.fd = fd, .events = (short)(POLLIN | (from < to ? POLLOUT : 0))};
        if (poll(&polled, 1, SILENCE_MS_MAX) <= 0) fail("the proxy says nothing");
        if (polled.revents & ~POLLOUT) confirmed = read_confirms(fd, confirmed);
    }
    printf("%llu %.9f %.9f\n", (unsigned long long)confirmed, seconds(CLOCK_MONOTONIC) - begun,
           seconds(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
