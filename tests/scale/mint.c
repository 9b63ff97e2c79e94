/* Cookies of the visitors whose numbers are read: one a line, in their order. */
#include "visitors.h"

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    static people p;
    if (argc != 1 + PEOPLE_N_ARGS)
        give_up("usage: mint " PEOPLE_ARGS " < NUMBERS > COOKIES");
    people_open(&p, argv + 1);
    uint64_t i;
    int got;
    while ((got = scanf("%" SCNu64, &i)) == 1) {
        char cookie[PRV_TOKEN_MAX + 32];
        fwrite(cookie, 1, visitor_cookie(&p, i, cookie), stdout);
        putchar('\n');
    }
    people_close(&p);
    if (got == 0 || fflush(stdout) != 0)
        give_up("What is read is no number, or nothing can be written.");
    return 0;
}
