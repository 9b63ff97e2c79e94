/*
 * drive PORT PID REQUESTS FROM COOKIES: asks for / with one cookie of the file after the other,
 * from number FROM on, over 32 connections that stay open, and prints what process PID (the only
 * worker) spent: requests=N cached=N ns=PROCESSOR_TIME_A_REQUEST cached: those whose X-State said
 * so.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 32
#define ANSWER_MAX 16384

typedef struct connection {
    size_t n;
    char answer[ANSWER_MAX + 1];
} connection;

static char *text;
static char **cookies;
static size_t n_cookies;

static void give_up(const char *what)
{
    fprintf(stderr, "drive: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void cookies_read(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        give_up(path);
    const long size = ftell(file);
    rewind(file);
    text = malloc((size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size)
        give_up(path);
    text[size] = '\0';
    fclose(file);
    for (long i = 0; i < size; i++)
        n_cookies += text[i] == '\n';
    cookies = calloc(n_cookies + 1, sizeof *cookies);
    char *line = text;
    for (size_t i = 0; cookies && i < n_cookies; i++) {
        cookies[i] = line;
        line = strchr(line, '\n');
        *line++ = '\0';
    }
    if (!cookies || n_cookies == 0)
        give_up("no cookies");
}

/* Time on a processor, user and system, in nanoseconds. */
static int64_t spent(const char *pid)
{
    char path[64];
    int64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%" SCNd64, &ns) != 1)
        give_up(path);
    fclose(file);
    return ns;
}

static int connect_to(int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        give_up("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void ask(int fd, connection *c, size_t which)
{
    char out[1024];
    const int n =
        snprintf(out, sizeof out, "GET / HTTP/1.1\r\nHost: www.example.test\r\nCookie: %s\r\n\r\n",
                 cookies[which % n_cookies]);
    c->n = 0;
    if (n <= 0 || (size_t)n >= sizeof out || write(fd, out, (size_t)n) != n)
        give_up("write");
}

/* The whole answer is there. */
static bool answered(int fd, connection *c)
{
    const ssize_t n = read(fd, c->answer + c->n, ANSWER_MAX - c->n);
    if (n <= 0)
        give_up("read");
    c->n += (size_t)n;
    c->answer[c->n] = '\0';
    const char *body = strstr(c->answer, "\r\n\r\n"),
               *length = strstr(c->answer, "Content-Length: ");
    if (!body)
        return false;
    if (strncmp(c->answer, "HTTP/1.1 200 ", 13) != 0 || !length) {
        errno = 0;
        give_up(c->answer);
    }
    return c->n >= (size_t)(body + 4 - c->answer) + strtoul(length + 16, NULL, 10);
}

int main(int argc, char **argv)
{
    static connection of[CONNECTIONS];
    struct pollfd on[CONNECTIONS];
    if (argc != 6)
        give_up("usage: drive PORT PID REQUESTS FROM COOKIES");
    cookies_read(argv[5]);
    const size_t requests = strtoul(argv[3], NULL, 10), from = strtoul(argv[4], NULL, 10);
    size_t sent = 0, done = 0, cached = 0;
    for (size_t i = 0; i < CONNECTIONS; i++)
        on[i] = (struct pollfd){.fd = connect_to(atoi(argv[1])), .events = POLLIN};
    usleep(100000); /* it has accepted them all */
    const int64_t began = spent(argv[2]);
    for (size_t i = 0; i < CONNECTIONS && sent < requests; i++)
        ask(on[i].fd, &of[i], from + sent++);
    while (done < sent) {
        if (poll(on, CONNECTIONS, 10000) <= 0)
            give_up("poll");
        for (size_t i = 0; i < CONNECTIONS; i++) {
            if (!on[i].revents || !answered(on[i].fd, &of[i]))
                continue;
            done++;
            cached += strstr(of[i].answer, "X-State: cache\r\n") != NULL;
            if (sent < requests)
                ask(on[i].fd, &of[i], from + sent++);
        }
    }
    printf("requests=%zu cached=%zu ns=%.1f\n", done, cached,
           (double)(spent(argv[2]) - began) / (double)done);
    return 0;
}
