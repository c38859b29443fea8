/* A broker that keeps nothing: it finishes the AMQP 0-9-1 handshake, swallows publishes and acknowledges all
 * that one read brought with one basic.ack (multiple) for each channel. It answers the few declarations a proxy
 * may make for itself. To who consumes it delivers, as fast as the prefetch allows, the message that was last
 * published without confirms, over and over. Sizes from the peer are checked; anything unexpected ends that
 * connection.
 *
 * usage: swallow PORT        (127.0.0.1; runs until killed)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 1 << 20, OUT_BYTES = 1 << 16, FRAME_BYTES_MAX = 131072, CHANNELS = 2048, EVENTS = 256 };

typedef struct {
    int fd, greeted, confirms;
    uint16_t publishing; /* the channel of the last publish */
    uint16_t unanswered; /* the channel with publishes that no ack was written for, or 0 */
    uint64_t published[CHANNELS];
    uint64_t body_left, skip; /* of a message; of a body frame that is swallowed unseen */
    uint16_t consuming; /* channel, or 0 */
    uint64_t delivered, acked, prefetch;
    size_t kept;
    uint8_t *rest; /* the beginning of a frame that is not whole yet */
} Connection;

static uint8_t in[FRAME_BYTES_MAX + 8 + IN_BYTES], out[OUT_BYTES];
static size_t out_used;
/* The content of the message to deliver: its header and body frames, for channel 1. */
static uint8_t *content;
static size_t content_used, content_room;

static uint16_t u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t u32(const uint8_t *at) { return (uint32_t)u16(at) << 16 | u16(at + 2); }
static uint64_t u64(const uint8_t *at) { return (uint64_t)u32(at) << 32 | u32(at + 4); }
static void put_u64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static int send_all(int fd, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n <= 0) return -1;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int flush(Connection *c) {
    size_t size = out_used;
    out_used = 0;
    return send_all(c->fd, out, size);
}

static int put(Connection *c, const void *data, size_t size) {
    if (out_used + size > OUT_BYTES && flush(c)) return -1;
    if (size > OUT_BYTES) return send_all(c->fd, data, size);
    memcpy(out + out_used, data, size);
    out_used += size;
    return 0;
}

static int send_method(Connection *c, uint16_t channel, uint32_t method, const void *arguments, size_t length) {
    uint32_t size = (uint32_t)length + 4;
    uint8_t head[11] = {1, channel >> 8, channel & 255, size >> 24, size >> 16 & 255, size >> 8 & 255, size & 255,
                        method >> 24, method >> 16 & 255, method >> 8 & 255, method & 255};
    return put(c, head, sizeof head) || put(c, arguments, length) || put(c, "\xce", 1) ? -1 : 0;
}

#define ID(class, method) ((uint32_t)(class) << 16 | (method))
#define ANSWER(class, method, text) send_method(c, channel, ID(class, method), text, sizeof(text) - 1)

static int acknowledge(Connection *c) {
    uint8_t ack[9] = {0, 0, 0, 0, 0, 0, 0, 0, 1};
    uint16_t channel = c->unanswered;
    c->unanswered = 0;
    if (!channel || !c->confirms) return 0;
    put_u64(ack, c->published[channel]);
    return send_method(c, channel, ID(60, 80), ack, sizeof ack);
}

static int deliver(Connection *c) {
    static const char place[] = "\x00\x00\x06" "celery"; /* not redelivered, exchange "", routing key */
    while (c->consuming && content_used && c->delivered - c->acked < c->prefetch) {
        uint8_t arguments[3 + 8 + sizeof place - 1] = "\x02" "c1";
        put_u64(arguments + 3, ++c->delivered);
        memcpy(arguments + 11, place, sizeof place - 1);
        if (send_method(c, 1, ID(60, 60), arguments, sizeof arguments)) return -1;
        if (put(c, content, content_used)) return -1;
    }
    return 0;
}

/* Of a basic.consume: the bits are behind a queue's and a consumer's name. */
static int no_wait(const uint8_t *payload, uint32_t size) {
    uint32_t at = 7u + payload[6];
    at += at < size ? 1u + payload[at] : 0;
    return at < size && payload[at] & 8;
}

/* 0: went well; -1: this connection is over. */
static int on_method(Connection *c, uint16_t channel, const uint8_t *payload, uint32_t size) {
    uint32_t method = u32(payload);
    switch (method) {
    case ID(10, 11): /* start-ok, then tune: channels, frame size 131072, no heartbeats */
        return ANSWER(10, 30, "\x07\xff\x00\x02\x00\x00\x00\x00");
    case ID(10, 31): return 0;
    case ID(10, 40): return ANSWER(10, 41, "\x00");
    case ID(10, 50): ANSWER(10, 51, ""); flush(c); return -1;
    case ID(20, 10): return ANSWER(20, 11, "\x00\x00\x00\x00");
    case ID(20, 40): return ANSWER(20, 41, "");
    case ID(40, 10): return ANSWER(40, 11, "");
    case ID(50, 10): return ANSWER(50, 11, "\x05queue\x00\x00\x00\x00\x00\x00\x00\x00");
    case ID(50, 20): return ANSWER(50, 21, "");
    case ID(85, 10): c->confirms = 1; return ANSWER(85, 11, "");
    case ID(60, 10):
        if (size < 10) return -1;
        c->prefetch = u16(payload + 8);
        return ANSWER(60, 11, "");
    case ID(60, 20):
        if (channel != 1 || size < 13) return -1;
        c->consuming = channel;
        if (!no_wait(payload, size) && ANSWER(60, 21, "\x02" "c1")) return -1;
        return deliver(c);
    case ID(60, 40):
        if (channel >= CHANNELS) return -1;
        if (c->unanswered && c->unanswered != channel && acknowledge(c)) return -1;
        c->publishing = channel;
        if (!c->confirms) content_used = 0;
        return 0;
    case ID(60, 80):
        if (size < 13) return -1;
        c->acked = payload[12] ? u64(payload + 4) : c->acked + 1;
        return deliver(c);
    default: fprintf(stderr, "swallow: no answer to method %u.%u\n", method >> 16, method & 65535); return -1;
    }
}

static void on_content(Connection *c) {
    if (c->body_left) return;
    c->published[c->publishing]++;
    c->unanswered = c->publishing;
}

static int keep(Connection *c, const uint8_t *frame, size_t size) {
    if (c->confirms) return 0;
    if (content_used + size > content_room) {
        uint8_t *more = realloc(content, content_room = content_used + size);
        if (!more) return -1;
        content = more;
    }
    memcpy(content + content_used, frame, size);
    content_used += size;
    return 0;
}

static int on_frame(Connection *c, const uint8_t *frame, uint32_t size) {
    const uint8_t *payload = frame + 7;
    uint16_t channel = u16(frame + 1);
    if (frame[0] == 3 && size <= c->body_left) {
        c->body_left -= size;
        on_content(c);
        return keep(c, frame, size + 8);
    }
    if (frame[0] == 2 && size >= 14) {
        c->body_left = u64(payload + 4);
        on_content(c);
        return keep(c, frame, size + 8);
    }
    if (frame[0] == 1 && size >= 4) return on_method(c, channel, payload, size);
    return frame[0] == 8 ? 0 : -1;
}

static int greet(Connection *c) {
    static const char start[] = "\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05" "en_US";
    c->greeted = 1;
    return send_method(c, 0, ID(10, 10), start, sizeof start - 1);
}

/* Takes the frames that are whole; returns the octets used, or -1. Bodies with confirms need not be whole. */
static ssize_t take_frames(Connection *c, const uint8_t *data, size_t used) {
    size_t at = 0;
    for (;;) {
        size_t skipped = c->skip < used - at ? c->skip : used - at;
        at += skipped;
        c->skip -= skipped;
        if (c->skip || used - at < 8) return (ssize_t)at;
        uint32_t size = u32(data + at + 3);
        if (size > FRAME_BYTES_MAX) return -1;
        if (data[at] == 3 && c->confirms && size < c->body_left) { /* the last frame of a body must be whole */
            c->body_left -= size;
            c->skip = size + 8;
            continue;
        }
        if (used - at < size + 8) return (ssize_t)at;
        if (on_frame(c, data + at, size)) return -1;
        at += size + 8;
    }
}

static int on_readable(Connection *c) {
    memcpy(in, c->rest, c->kept);
    ssize_t n = recv(c->fd, in + c->kept, IN_BYTES, 0), at = 0;
    if (n <= 0) return -1;
    size_t used = c->kept + (size_t)n;
    out_used = 0;
    c->kept = used;
    if (!c->greeted && used >= 8) {
        at = 8;
        if (greet(c)) return -1;
    }
    if (c->greeted) {
        ssize_t more = take_frames(c, in + at, used - (size_t)at);
        if (more < 0) return -1;
        at += more;
    }
    c->kept = used - (size_t)at;
    uint8_t *rest = c->kept ? realloc(c->rest, c->kept) : c->rest;
    if (c->kept && !rest) return -1;
    c->rest = rest;
    memcpy(c->rest, in + at, c->kept);
    return acknowledge(c) || flush(c) ? -1 : 0;
}

static int listen_on(uint16_t port) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) {
        perror("swallow");
        exit(1);
    }
    return fd;
}

static void end(Connection *c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

static void take(int poller, int listener) {
    int on = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0) return;
    Connection *c = calloc(1, sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) end(c);
}

int main(int argc, char **argv) {
    if (argc != 2) return 64;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int poller = epoll_create1(0), listener = listen_on((uint16_t)atoi(argv[1]));
    struct epoll_event events[EVENTS], listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listening)) return 1;
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) return 1;
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (!c) take(poller, listener);
            else if (on_readable(c)) end(c);
        }
    }
}
