/* A broker that keeps nothing: it finishes the AMQP 0-9-1 handshake, swallows publishes and acknowledges all
 * that one read brought with one basic.ack (multiple). It answers the few declarations a proxy may make for
 * itself. Sizes from the peer are checked against the buffer; anything unexpected ends that connection.
 *
 * usage: swallow PORT        (127.0.0.1; runs until killed)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, BUFFER_BYTES = 1 << 20, OUT_BYTES = 4096, FRAME_BYTES_MAX = 131072 };

typedef struct {
    int fd;
    int greeted;
    int confirms;
    uint64_t published; /* messages complete so far: the broker's delivery tags */
    uint64_t body_left;
    uint16_t channel; /* of the last publish; a benchmark client publishes on one channel */
    size_t used;
    uint8_t *in;
    size_t out_used;
    uint8_t out[OUT_BYTES];
} Connection;

static uint16_t u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t u32(const uint8_t *at) { return (uint32_t)u16(at) << 16 | u16(at + 2); }
static uint64_t u64(const uint8_t *at) { return (uint64_t)u32(at) << 32 | u32(at + 4); }

static int flush(Connection *c) {
    size_t sent = 0;
    while (sent < c->out_used) {
        ssize_t n = send(c->fd, c->out + sent, c->out_used - sent, MSG_NOSIGNAL);
        if (n <= 0) return -1;
        sent += (size_t)n;
    }
    c->out_used = 0;
    return 0;
}

static int send_method(Connection *c, uint16_t channel, uint32_t method, const void *arguments, size_t length) {
    uint32_t size = (uint32_t)length + 4;
    if (c->out_used + size + 8 > OUT_BYTES && flush(c)) return -1;
    uint8_t *at = c->out + c->out_used;
    uint8_t head[11] = {1, channel >> 8, channel & 255, size >> 24, size >> 16 & 255, size >> 8 & 255, size & 255,
                        method >> 24, method >> 16 & 255, method >> 8 & 255, method & 255};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, arguments, length);
    at[sizeof head + length] = 0xCE;
    c->out_used += sizeof head + length + 1;
    return 0;
}

#define ID(class, method) ((uint32_t)(class) << 16 | (method))
#define ANSWER(class, method, text) send_method(c, channel, ID(class, method), text, sizeof(text) - 1)

/* 0: went well; -1: this connection is over. */
static int on_method(Connection *c, uint16_t channel, uint32_t method) {
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
    case ID(60, 40): c->channel = channel; return 0;
    default: fprintf(stderr, "swallow: no answer to method %u.%u\n", method >> 16, method & 65535); return -1;
    }
}

static int on_frame(Connection *c, uint8_t type, uint16_t channel, const uint8_t *payload, uint32_t size) {
    if (type == 3 && size <= c->body_left) {
        c->body_left -= size;
        c->published += c->body_left == 0;
        return 0;
    }
    if (type == 2 && size >= 14) {
        c->body_left = u64(payload + 4);
        c->published += c->body_left == 0;
        return 0;
    }
    if (type == 1 && size >= 4) return on_method(c, channel, u32(payload));
    return type == 8 ? 0 : -1;
}

static int greet(Connection *c) {
    static const char start[] = "\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05" "en_US";
    c->greeted = 1;
    return send_method(c, 0, ID(10, 10), start, sizeof start - 1);
}

static int on_readable(Connection *c) {
    ssize_t n = recv(c->fd, c->in + c->used, BUFFER_BYTES - c->used, 0);
    if (n <= 0) return -1;
    c->used += (size_t)n;
    size_t at = 0;
    uint64_t before = c->published;
    if (!c->greeted) {
        if (c->used < 8) return 0;
        at = 8;
        if (greet(c)) return -1;
    }
    while (c->used - at >= 8) {
        uint32_t size = u32(c->in + at + 3);
        if (size > FRAME_BYTES_MAX) return -1;
        if (c->used - at < size + 8) break;
        if (on_frame(c, c->in[at], u16(c->in + at + 1), c->in + at + 7, size)) return -1;
        at += size + 8;
    }
    memmove(c->in, c->in + at, c->used - at);
    c->used -= at;
    if (c->confirms && c->published != before) {
        uint8_t ack[9] = {0, 0, 0, 0, 0, 0, 0, 0, 1};
        for (int i = 0; i < 8; i++) ack[i] = (uint8_t)(c->published >> (56 - 8 * i));
        if (send_method(c, c->channel, ID(60, 80), ack, sizeof ack)) return -1;
    }
    return flush(c);
}

static int listen_on(uint16_t port) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 64)) {
        perror("swallow");
        exit(1);
    }
    return fd;
}

static void take(Connection *table, int fd) {
    int on = 1;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (table[i].fd >= 0) continue;
        uint8_t *in = table[i].in ? table[i].in : malloc(BUFFER_BYTES);
        if (!in) break;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        memset(&table[i], 0, sizeof table[i]);
        table[i].fd = fd;
        table[i].in = in;
        return;
    }
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 2) return 64;
    static Connection table[CONNECTIONS_MAX];
    struct pollfd polled[CONNECTIONS_MAX + 1];
    for (int i = 0; i < CONNECTIONS_MAX; i++) table[i].fd = -1;
    polled[CONNECTIONS_MAX] = (struct pollfd){.fd = listen_on((uint16_t)atoi(argv[1])), .events = POLLIN};
    for (;;) {
        for (int i = 0; i < CONNECTIONS_MAX; i++) polled[i] = (struct pollfd){.fd = table[i].fd, .events = POLLIN};
        if (poll(polled, CONNECTIONS_MAX + 1, -1) < 0 && errno != EINTR) return 1;
        for (int i = 0; i < CONNECTIONS_MAX; i++) {
            if (table[i].fd < 0 || !polled[i].revents || !on_readable(&table[i])) continue;
            close(table[i].fd);
            table[i].fd = -1;
        }
        if (polled[CONNECTIONS_MAX].revents) {
            int fd = accept(polled[CONNECTIONS_MAX].fd, NULL, NULL);
            if (fd >= 0) take(table, fd);
        }
    }
}
