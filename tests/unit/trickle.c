#include "trickle.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_MAX 4096

struct test_trickle {
    pthread_t thread;
    int listener, port, target;
    unsigned step;
    int stop[2];
    atomic_bool spoil;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

static bool pass(test_trickle *t, int from, int to, bool reply)
{
    char piece[PIECE_MAX];
    ssize_t n = recv(from, piece, t->step, 0);
    if (n > 0 && reply && atomic_exchange(&t->spoil, false))
        piece[0] = (char)(piece[0] ^ 0x55);
    return n > 0 && send(to, piece, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool relay(test_trickle *t, int near, int far)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = near, .events = POLLIN},
                              {.fd = far, .events = POLLIN},
                              {.fd = t->stop[0], .events = POLLIN}};
        poll(p, 3, -1);
        if (p[2].revents != 0)
            return false;
        if ((p[0].revents != 0 && !pass(t, near, far, false)) ||
            (p[1].revents != 0 && !pass(t, far, near, true)))
            return true;
    }
}

static void *run(void *arg)
{
    test_trickle *t = arg;
    bool going = true;
    while (going) {
        struct pollfd p[2] = {{.fd = t->listener, .events = POLLIN},
                              {.fd = t->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        if (p[1].revents != 0)
            break;
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)t->target)};
        int one = 1;
        int near = accept(t->listener, NULL, NULL);
        int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (near >= 0 && far >= 0 && connect(far, (struct sockaddr *)&a, sizeof a) == 0)
            going = relay(t, near, far);
        close(near);
        close(far);
    }
    return NULL;
}

test_trickle *test_trickle_start(int target, unsigned step)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    test_trickle *t = calloc(1, sizeof *t);
    if (t == NULL || step == 0 || step > PIECE_MAX)
        die("trickle");
    t->target = target;
    t->step = step;
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->listener < 0 || bind(t->listener, (struct sockaddr *)&a, sizeof a) != 0 ||
        listen(t->listener, 16) != 0 || getsockname(t->listener, (struct sockaddr *)&a, &n) != 0 ||
        pipe(t->stop) != 0 || pthread_create(&t->thread, NULL, run, t) != 0)
        die("trickle");
    t->port = ntohs(a.sin_port);
    return t;
}

int test_trickle_port(const test_trickle *trickle)
{
    return trickle->port;
}

void test_trickle_spoil(test_trickle *trickle)
{
    atomic_store(&trickle->spoil, true);
}

void test_trickle_stop(test_trickle *trickle)
{
    if (write(trickle->stop[1], "x", 1) != 1)
        die("trickle");
    pthread_join(trickle->thread, NULL);
    close(trickle->stop[0]);
    close(trickle->stop[1]);
    close(trickle->listener);
    free(trickle);
}
