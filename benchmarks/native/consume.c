/* Takes deliveries on a socket whose handshake, basic.qos and basic.consume are done, and acknowledges each.
 *
 * usage: consume [-m] FD COUNT      COUNT 0: until the peer closes
 *   -m  one basic.ack (multiple) for all that a read brought, as who only wants a queue empty does;
 *       without it one for each delivery, as Celery's workers do, those of one read in one write
 * Prints: deliveries acknowledged, seconds since the first of them, CPU seconds of this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SILENCE_S_MAX = 60, IN_BYTES = 1 << 18, ACK_BYTES = 21, OUT_BYTES = 1 << 16 };

static uint8_t in[IN_BYTES], out[OUT_BYTES];
static size_t used, out_used;

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "consume: %s\n", what);
    exit(1);
}

static void flush(int fd) {
    for (size_t sent = 0; sent < out_used;) {
        ssize_t n = send(fd, out + sent, out_used - sent, MSG_NOSIGNAL);
        if (n < 0) fail(strerror(errno));
        sent += (size_t)n;
    }
    out_used = 0;
}

static void acknowledge(int fd, const uint8_t *tag, int multiple) {
    static const uint8_t head[11] = {1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80};
    if (out_used + ACK_BYTES > OUT_BYTES) flush(fd);
    memcpy(out + out_used, head, sizeof head);
    memcpy(out + out_used + 11, tag, 8);
    out[out_used + 19] = (uint8_t)multiple;
    out[out_used + 20] = 0xCE;
    out_used += ACK_BYTES;
}

int main(int argc, char **argv) {
    int multiple = argc == 4 && !strcmp(argv[1], "-m");
    if (argc != 3 + multiple) return 64;
    int fd = atoi(argv[1 + multiple]);
    uint64_t wanted = strtoull(argv[2 + multiple], NULL, 10), whole = 0, body_left = 0, skip = 0;
    uint8_t tag[8], whole_tag[8]; /* of the last delivery begun, and of the last one that is whole */
    struct timeval silence = {.tv_sec = SILENCE_S_MAX};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    double begun = 0, cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (!wanted || whole < wanted) {
        ssize_t n = recv(fd, in + used, IN_BYTES - used, 0);
        if (n < 0 && errno != ECONNRESET) fail(errno == EAGAIN ? "nothing is delivered" : strerror(errno));
        if (n <= 0) {
            if (wanted) fail("closed before all were delivered");
            break;
        }
        if (!begun) begun = seconds(CLOCK_MONOTONIC);
        used += (size_t)n;
        size_t at = 0;
        uint64_t before = whole;
        for (;;) {
            size_t skipped = skip < used - at ? skip : used - at;
            at += skipped;
            skip -= skipped;
            if (skip || used - at < 7) break;
            uint32_t size = u32(in + at + 3);
            if (in[at] == 3) {
                body_left -= size;
                skip = size + 8;
            } else if (used - at < size + 8) {
                break;
            } else {
                const uint8_t *payload = in + at + 7;
                if (in[at] == 2) body_left = (uint64_t)u32(payload + 4) << 32 | u32(payload + 8);
                else if (in[at] == 1 && u32(payload) == (60u << 16 | 60)) memcpy(tag, payload + 5 + payload[4], 8);
                else if (in[at] != 8) fail("got something that is no delivery");
                at += size + 8;
                if (in[at - size - 8] != 2) continue;
            }
            if (body_left == 0) {
                whole++;
                memcpy(whole_tag, tag, sizeof tag);
                if (!multiple) acknowledge(fd, tag, 0);
            }
        }
        memmove(in, in + at, used - at);
        used -= at;
        if (multiple && whole != before) acknowledge(fd, whole_tag, 1);
        flush(fd);
    }
    printf("%llu %.9f %.9f\n", (unsigned long long)whole, begun ? seconds(CLOCK_MONOTONIC) - begun : 0.0,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
