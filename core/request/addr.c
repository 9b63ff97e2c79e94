/*
 * Client addresses, cut before anybody can log them.
 */
#include <arpa/inet.h>

#include "view.h"

/* Bytes of an address that stay: a network, not a person. */
#define KEEP_V4 3
#define KEEP_V6 6

prv_str prv_addr_cut(const prv_env *env, prv_str addr)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    const uint8_t *cut = bytes;
    int family = AF_INET;
    prv_out out;

    if (addr.n == 0 || addr.n >= sizeof(text) || prv_view_find(addr, '\0') < addr.n) {
        return PRV_NONE;
    }
    memcpy(text, addr.p, addr.n);
    text[addr.n] = '\0';
    if (inet_pton(AF_INET, text, bytes) == 1) {
        memset(bytes + KEEP_V4, 0, 4 - KEEP_V4);
    } else if (inet_pton(AF_INET6, text, bytes) != 1) {
        return PRV_NONE;
    } else if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        cut = bytes + sizeof(mapped);
        memset(bytes + sizeof(mapped) + KEEP_V4, 0, 4 - KEEP_V4);
    } else {
        family = AF_INET6;
        memset(bytes + KEEP_V6, 0, 16 - KEEP_V6);
    }
    if (inet_ntop(family, cut, text, sizeof(text)) == NULL) {
        return PRV_NONE;
    }
    size_t n = strlen(text);
    if (!prv_out_open(&out, env, n)) {
        return PRV_NONE;
    }
    prv_out_put(&out, (prv_str){text, n});
    return prv_out_view(&out);
}
