/*
 * fill POLICY KEYS TIME PID N SAMPLE COOKIES: fills the zone of a running nginx, whose master is
 * PID, with N visitors as one more process that shares it, and writes the cookies of SAMPLE of them
 * to a file. Asking for each of ten million over HTTP would take an hour. Needs root: another
 * process' shared memory is reached through /proc/PID/map_files.
 */
#include "visitors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC "PRVZONE1"
#define LINK_WAIT_S 20

/* The zone lies behind the head of nginx's slab pool, at a line of 64 bytes. */
static prv_zone *zone_within(char *from, size_t n)
{
    const size_t heads = n < (1u << 20) ? n : 1u << 20;
    const size_t within =
        n / 16 > heads ? n / 16 : heads; /* behind the descriptions of its pages */
    for (size_t at = 0; at + PRV_ZONE_HEADER < within; at += 64) {
        prv_zone *zone = (prv_zone *)(void *)(from + at);
        if (memcmp(from + at, MAGIC, 8) == 0 && zone->layout == PRV_ZONE_LAYOUT &&
            zone->size + at <= n)
            return zone;
    }
    return NULL;
}

static prv_zone *zone_of(const char *pid)
{
    char path[128], line[512];
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "r");
    if (!maps)
        give_up("There is no process %s.", pid);
    prv_zone *zone = NULL;
    while (!zone && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || strcmp(mode, "rw-s") != 0)
            continue;
        snprintf(path, sizeof path, "/proc/%s/map_files/%lx-%lx", pid, from, to);
        const int fd = open(path, O_RDWR);
        if (fd < 0)
            give_up("%s cannot be opened: %s.", path, strerror(errno));
        char *p = mmap(NULL, to - from, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (p != MAP_FAILED && !(zone = zone_within(p, to - from)))
            munmap(p, to - from);
    }
    fclose(maps);
    if (!zone)
        give_up("Process %s has no zone of this layout.", pid);
    return zone;
}

int main(int argc, char **argv)
{
    static people p;
    if (argc != 8)
        give_up("usage: fill " PEOPLE_ARGS " PID N SAMPLE COOKIES");
    people_open(&p, argv + 1);
    const uint64_t n = strtoull(argv[5], NULL, 10);
    const size_t most = strtoul(argv[6], NULL, 10);
    const size_t sampled = n < most ? (size_t)n : most;
    uint32_t *sample = calloc(sampled, sizeof *sample);
    FILE *out = fopen(argv[7], "w");
    prv_zone *zone = zone_of(argv[4]);
    if (!sample || !out)
        give_up("%s cannot be written.", argv[7]);

    const int64_t began = clock_ns();
    while (!prv_zone_link_up(zone, clock_ns() / 1000000)) {
        if (clock_ns() - began > LINK_WAIT_S * INT64_C(1000000000))
            give_up("Process %s does not hear its Redis.", argv[4]);
        usleep(20000);
    }
    p.live = true;
    const size_t stayed = zone_fill(&p, zone, n, sample, sampled);
    if (stayed < sampled / 2)
        give_up("Only %zu of %zu visitors stayed: was the link lost?", stayed, sampled);
    for (size_t k = 0; k < stayed; k++) {
        char cookie[PRV_TOKEN_MAX + 32];
        fwrite(cookie, 1, visitor_cookie(&p, sample[k], cookie), out);
        fputc('\n', out);
    }
    if (fclose(out) != 0)
        give_up("%s cannot be written.", argv[7]);
    free(sample);
    people_close(&p);
    return 0;
}
