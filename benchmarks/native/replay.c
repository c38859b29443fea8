/* Replays prebuilt publishes on sockets that have finished their handshake, and waits for every confirm.
 *
 * usage: replay [-w WINDOW] [-p PASSES] [-r RATE] [-t TURN] [-c CHANNELS] [-b BASE] [-l LATENCIES] FILE FD...
 * FILE: u64 count, u64 offsets[count + 1] (into the bytes that follow), the messages' frames; native byte order.
 * A lane is one channel of one connection; the file is cut into one equal part for each lane, in order.
 *   -w  unconfirmed messages of a lane at most (256)
 *   -p  times each lane sends its part (1)
 *   -r  messages a second over all lanes, round robin, whether or not confirms come (0: as the window allows)
 *   -t  lanes take turns: each sends so many, and the next begins when all of them are confirmed (0: all at once)
 *   -c  channels 1 to CHANNELS of each connection (1; more only with -t)
 *   -b  messages already confirmed on each lane (0)
 *   -l  file for the nanoseconds from just before the send that carried a message's last octet to its confirm
 * Prints: messages confirmed, seconds passed, CPU seconds of this process. A nack, a return, a close or anything
 * else that is no confirm ends it with status 1 and the frame's method on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SILENCE_S_MAX = 30, IN_BYTES = 1 << 14, EVENTS = 256 };

typedef struct {
    int fd, sending; /* the lane whose message is half sent, or -1 */
    size_t used;
    uint8_t in[IN_BYTES];
} Connection;

typedef struct {
    uint64_t first, total;    /* its part of the file; messages over all passes */
    uint64_t limit;           /* messages it may have sent by now: by rate or turn, else all */
    uint64_t started, stamped, confirmed, low; /* sending begun; last octet sent; confirmed; all below are */
    uint64_t pass, from, to;  /* octets of this pass sent, and allowed */
    uint8_t *acked;
    uint64_t *sent_ns;
} Lane;

static const uint64_t *offsets;
static const uint8_t *bytes;
static Connection *connections;
static Lane *lanes;
static uint64_t part, window = 256, base, channels = 1, confirmed_all;
static uint64_t *latencies, latencies_used;
static int poller;

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static uint64_t u64(const uint8_t *at) { return (uint64_t)u32(at) << 32 | u32(at + 4); }

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "replay: %s\n", what);
    exit(1);
}

static void *zeroed(uint64_t count, size_t size) {
    void *made = calloc(count ? count : 1, size);
    if (!made) fail("no memory");
    return made;
}

static uint64_t end_of(const Lane *lane, uint64_t message) { /* in octets of its pass */
    return offsets[lane->first + message - lane->pass * part + 1] - offsets[lane->first];
}

static void want_writable(int connection, int lane) {
    struct epoll_event event = {.events = EPOLLIN | (lane < 0 ? 0 : EPOLLOUT), .data.u32 = (uint32_t)connection};
    if ((connections[connection].sending < 0) != (lane < 0))
        epoll_ctl(poller, EPOLL_CTL_MOD, connections[connection].fd, &event);
    connections[connection].sending = lane;
}

/* Sends what the lane may send; what the socket does not take waits until it is writable. */
static void pump(int number) {
    Lane *lane = &lanes[number];
    int connection = number / (int)channels;
    if (connections[connection].sending >= 0 && connections[connection].sending != number) return;
    for (;;) {
        if (lane->from == lane->to) {
            uint64_t end = lane->confirmed + window < lane->limit ? lane->confirmed + window : lane->limit;
            if (lane->started >= end) break;
            if (lane->started == (lane->pass + 1) * part) lane->pass++, lane->from = 0;
            if (end > (lane->pass + 1) * part) end = (lane->pass + 1) * part;
            lane->to = end_of(lane, end - 1);
            lane->started = end;
        }
        uint64_t at = latencies ? now_ns(CLOCK_MONOTONIC) : 0;
        ssize_t n = send(connections[connection].fd, bytes + offsets[lane->first] + lane->from, lane->to - lane->from,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) fail(strerror(errno));
        if (n > 0) lane->from += (uint64_t)n;
        for (; latencies && lane->stamped < lane->started && end_of(lane, lane->stamped) <= lane->from; lane->stamped++)
            lane->sent_ns[lane->stamped] = at;
        if (lane->from < lane->to) {
            want_writable(connection, number);
            return;
        }
    }
    want_writable(connection, -1);
}

static void confirm(Lane *lane, uint64_t message, uint64_t at) {
    if (message >= lane->started) fail("a confirm for what was not sent");
    if (lane->acked[message]) return;
    lane->acked[message] = 1;
    lane->confirmed++;
    confirmed_all++;
    if (latencies) latencies[latencies_used++] = at - lane->sent_ns[message];
}

static void on_confirm(int connection, const uint8_t *frame, uint64_t at) {
    uint64_t channel = (uint64_t)frame[1] << 8 | frame[2], tag = u64(frame + 11) - base;
    if (channel < 1 || channel > channels) fail("a confirm on a channel that publishes nothing");
    int number = connection * (int)channels + (int)channel - 1;
    Lane *lane = &lanes[number];
    if (frame[19])
        while (lane->low < tag) confirm(lane, lane->low++, at);
    else
        confirm(lane, tag - 1, at);
    pump(number);
}

static void on_readable(int number) {
    Connection *c = &connections[number];
    ssize_t n = recv(c->fd, c->in + c->used, IN_BYTES - c->used, MSG_DONTWAIT);
    if (n == 0) fail("the proxy closed the connection");
    if (n < 0) {
        if (errno != EAGAIN) fail(strerror(errno));
        return;
    }
    uint64_t received = latencies ? now_ns(CLOCK_MONOTONIC) : 0;
    c->used += (size_t)n;
    size_t at = 0;
    while (c->used - at >= 8 && c->used - at >= u32(c->in + at + 3) + 8) {
        const uint8_t *frame = c->in + at, *payload = frame + 7;
        uint32_t size = u32(frame + 3);
        if (frame[0] == 1 && size == 13 && u32(payload) == (60u << 16 | 80)) {
            on_confirm(number, frame, received);
        } else if (frame[0] != 8) {
            fprintf(stderr, "replay: got method %u.%u: %.*s\n", payload[0] << 8 | payload[1],
                    payload[2] << 8 | payload[3], (int)(size > 7 ? size - 7 : 0), payload + 7);
            exit(1);
        }
        at += size + 8;
    }
    memmove(c->in, c->in + at, c->used - at);
    c->used -= at;
}

static void wait_for_events(uint64_t until_ns) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(CLOCK_MONOTONIC), most = SILENCE_S_MAX * 1000000000ull;
    uint64_t wait = !until_ns ? most : until_ns > now ? until_ns - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    int ready = epoll_pwait2(poller, events, EVENTS, &timeout, NULL);
    if (ready < 0 && errno != EINTR) fail(strerror(errno));
    if (ready == 0 && !until_ns) fail("the proxy says nothing");
    for (int i = 0; i < ready; i++) {
        int number = (int)events[i].data.u32;
        if (events[i].events & ~(uint32_t)EPOLLOUT) on_readable(number);
        if (events[i].events & EPOLLOUT && connections[number].sending >= 0) pump(connections[number].sending);
    }
}

static void by_window(uint64_t lanes_all, uint64_t total) {
    for (uint64_t i = 0; i < lanes_all; i++) lanes[i].limit = lanes[i].total, pump((int)i);
    while (confirmed_all < total) wait_for_events(0);
}

static void by_turns(uint64_t lanes_all, uint64_t total, uint64_t turn) {
    for (uint64_t i = 0; confirmed_all < total; i = (i + 1) % lanes_all) {
        Lane *lane = &lanes[i];
        lane->limit = lane->limit + turn < lane->total ? lane->limit + turn : lane->total;
        pump((int)i);
        while (lane->confirmed < lane->limit) wait_for_events(0);
    }
}

static void by_rate(uint64_t lanes_all, uint64_t total, double rate) {
    uint64_t begun = now_ns(CLOCK_MONOTONIC), due = 0;
    window = UINT64_MAX / 4;
    prctl(PR_SET_TIMERSLACK, 1);
    while (confirmed_all < total) {
        uint64_t next = begun + (uint64_t)((double)due / rate * 1e9);
        if (due == total) {
            wait_for_events(0);
        } else if (now_ns(CLOCK_MONOTONIC) < next) {
            wait_for_events(next);
        } else {
            lanes[due % lanes_all].limit++;
            pump((int)(due++ % lanes_all));
        }
    }
}

static const uint64_t *mapped(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about)) fail("no file of messages");
    const uint64_t *map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (map == MAP_FAILED) fail("cannot map the messages");
    return map;
}

static void write_latencies(const char *path) {
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(latencies, sizeof *latencies, latencies_used, out) != latencies_used || fclose(out))
        fail("cannot write the latencies");
}

int main(int argc, char **argv) {
    uint64_t passes = 1, turn = 0;
    double rate = 0;
    const char *path = NULL;
    for (int option; (option = getopt(argc, argv, "w:p:r:t:c:b:l:")) != -1;) switch (option) {
        case 'w': window = strtoull(optarg, NULL, 10); break;
        case 'p': passes = strtoull(optarg, NULL, 10); break;
        case 'r': rate = strtod(optarg, NULL); break;
        case 't': turn = strtoull(optarg, NULL, 10); break;
        case 'c': channels = strtoull(optarg, NULL, 10); break;
        case 'b': base = strtoull(optarg, NULL, 10); break;
        case 'l': path = optarg; break;
        default: return 64;
        }
    if (argc - optind < 2 || !window || !passes || !channels || (channels > 1 && !turn)) return 64;
    const uint64_t *map = mapped(argv[optind++]);
    uint64_t count = map[0], fds = (uint64_t)(argc - optind), lanes_all = fds * channels;
    if (count == 0 || count % lanes_all) fail("the messages are no multiple of the lanes");
    offsets = map + 1;
    bytes = (const uint8_t *)(map + count + 2);
    part = count / lanes_all;
    uint64_t total = count * passes;
    if (path) latencies = zeroed(total, sizeof *latencies);
    poller = epoll_create1(0);
    connections = zeroed(fds, sizeof *connections);
    lanes = zeroed(lanes_all, sizeof *lanes);
    for (uint64_t i = 0; i < fds; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        connections[i].fd = atoi(argv[optind + (int)i]);
        connections[i].sending = -1;
        if (epoll_ctl(poller, EPOLL_CTL_ADD, connections[i].fd, &event)) fail(strerror(errno));
    }
    for (uint64_t i = 0; i < lanes_all; i++) {
        lanes[i].first = i * part;
        lanes[i].total = part * passes;
        lanes[i].acked = zeroed(lanes[i].total, 1);
        if (path) lanes[i].sent_ns = zeroed(lanes[i].total, sizeof(uint64_t));
    }
    uint64_t begun = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (rate > 0) by_rate(lanes_all, total, rate);
    else if (turn) by_turns(lanes_all, total, turn);
    else by_window(lanes_all, total);
    printf("%llu %.9f %.9f\n", (unsigned long long)confirmed_all, (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e9,
           (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9);
    if (path) write_latencies(path);
    return 0;
}
