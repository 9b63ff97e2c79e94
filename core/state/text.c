/*
 * Encodings that the token and the record share: base64url (RFC 4648 section 5, no padding), base32
 * ids (the same RFC's alphabet in lower case), RFC 3339 times in UTC, age bounds, FNV-1a.
 */
#include "state.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ base64url */

static const char base64_digits[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t prv_base64url_encode(const uint8_t *in, size_t n, char *out)
{
    size_t o = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | in[i];
        have += 8;
        while (have >= 6) {
            have -= 6;
            out[o++] = base64_digits[bits >> have & 63];
        }
    }
    if (have > 0)
        out[o++] = base64_digits[bits << (6 - have) & 63];
    return o;
}

/* Each digit's value plus one; all else is 0. */
#define VALUE(c) [c] = ((c) >= 'a' ? (c) - 'a' + 26 : (c) - 'A') + 1
#define DIGIT(c) [c] = (c) - '0' + 52 + 1
static const uint8_t base64_values[256] = {
    VALUE('A'), VALUE('B'), VALUE('C'), VALUE('D'), VALUE('E'), VALUE('F'), VALUE('G'), VALUE('H'),
    VALUE('I'), VALUE('J'), VALUE('K'), VALUE('L'), VALUE('M'), VALUE('N'), VALUE('O'), VALUE('P'),
    VALUE('Q'), VALUE('R'), VALUE('S'), VALUE('T'), VALUE('U'), VALUE('V'), VALUE('W'), VALUE('X'),
    VALUE('Y'), VALUE('Z'), VALUE('a'), VALUE('b'), VALUE('c'), VALUE('d'), VALUE('e'), VALUE('f'),
    VALUE('g'), VALUE('h'), VALUE('i'), VALUE('j'), VALUE('k'), VALUE('l'), VALUE('m'), VALUE('n'),
    VALUE('o'), VALUE('p'), VALUE('q'), VALUE('r'), VALUE('s'), VALUE('t'), VALUE('u'), VALUE('v'),
    VALUE('w'), VALUE('x'), VALUE('y'), VALUE('z'), DIGIT('0'), DIGIT('1'), DIGIT('2'), DIGIT('3'),
    DIGIT('4'), DIGIT('5'), DIGIT('6'), DIGIT('7'), DIGIT('8'), DIGIT('9'), ['-'] = 63, ['_'] = 64};

/* More than 63: no digit. */
static uint32_t base64_value(char c)
{
    return (uint32_t)base64_values[(unsigned char)c] - 1;
}

bool prv_base64url_decode(prv_str in, uint8_t *out, size_t cap, size_t *n)
{
    *n = 0;
    const size_t rest = in.n % 4;
    if (rest == 1 || in.n / 4 * 3 + (rest ? rest - 1 : 0) > cap)
        return false;
    uint32_t bad = 0; /* more than 63: something is no digit */
    size_t o = 0, i = 0;
    for (; i + 4 <= in.n; i += 4, o += 3) {
        const uint32_t a = base64_value(in.p[i]), b = base64_value(in.p[i + 1]),
                       c = base64_value(in.p[i + 2]), d = base64_value(in.p[i + 3]);
        bad |= a | b | c | d;
        out[o] = (uint8_t)(a << 2 | b >> 4);
        out[o + 1] = (uint8_t)(b << 4 | c >> 2);
        out[o + 2] = (uint8_t)(c << 6 | d);
    }
    /* Spare bits must be zero: otherwise several texts would stand for one value. */
    if (rest > 0) {
        const uint32_t a = base64_value(in.p[i]), b = base64_value(in.p[i + 1]),
                       c = rest == 3 ? base64_value(in.p[i + 2]) : 0;
        bad |= a | b | c | (rest == 3 ? (c & 3) << 6 : (b & 15) << 6);
        out[o++] = (uint8_t)(a << 2 | b >> 4);
        if (rest == 3)
            out[o++] = (uint8_t)(b << 4 | c >> 2);
    }
    if (bad > 63)
        return false;
    *n = o;
    return true;
}

/* ------------------------------------------------------------------ ids */

static const char base32_digits[32] = "abcdefghijklmnopqrstuvwxyz234567";

static int base32_value(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

/* Eight digits are eight bytes of a word, the first one on top, and forty bits of the id: all eight
 * are worked on at once. */
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))
#define LETTERS_OFF                                                                                \
    ('a' - ('2' - 26)) /* by which letters and digits stand apart beyond their values */

static uint64_t eight_read(const void *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return be64toh(word);
}

static void eight_write(void *p, uint64_t word)
{
    word = htobe64(word);
    memcpy(p, &word, sizeof word);
}

static uint64_t eight_digits(uint64_t bits)
{
    bits = (bits & 0xfffff) | (bits >> 20 & 0xfffff) << 32;
    bits = (bits & UINT64_C(0x000003ff000003ff)) | (bits & UINT64_C(0x000ffc00000ffc00)) << 6;
    bits = (bits & UINT64_C(0x001f001f001f001f)) | (bits & UINT64_C(0x03e003e003e003e0)) << 3;
    const uint64_t digit = (bits + EIGHT(128 - 26)) >> 7 & EIGHT(1);
    return bits + EIGHT('a') - digit * LETTERS_OFF;
}

static uint64_t eight_bits(uint64_t text)
{
    const uint64_t letter = text >> 6 & EIGHT(1);
    text = (text - EIGHT('2' - 26) - letter * LETTERS_OFF) & EIGHT(31);
    text = (text & UINT64_C(0x001f001f001f001f)) | (text & UINT64_C(0x1f001f001f001f00)) >> 3;
    text = (text & UINT64_C(0x000003ff000003ff)) | (text & UINT64_C(0x03ff000003ff0000)) >> 6;
    return (text & 0xfffff) | (text >> 32) << 20;
}

void prv_id_unpack(const uint8_t in[16], char id[PRV_ID_LEN])
{
    eight_write(id, eight_digits(eight_read(in) >> 24));
    eight_write(id + 8, eight_digits(eight_read(in + 5) >> 24));
    eight_write(id + 16, eight_digits(eight_read(in + 8) >> 8));
    id[24] = base32_digits[in[15] >> 3];
    id[25] = base32_digits[in[15] << 2 & 31];
}

/* What is no digit counts as some digit. */
void prv_id_pack(const char id[PRV_ID_LEN], uint8_t out[16])
{
    const uint64_t a = eight_bits(eight_read(id)), b = eight_bits(eight_read(id + 8)),
                   c = eight_bits(eight_read(id + 16)), d = eight_bits(eight_read(id + 18)) >> 2;
    eight_write(out, a << 24 | b >> 16);
    eight_write(out + 8, b << 48 | c << 8 | (d & 0xff));
}

bool prv_id_valid(prv_str text)
{
    if (text.n != PRV_ID_LEN)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (base32_value(text.p[i]) < 0)
            return false;
    }
    return (base32_value(text.p[PRV_ID_LEN - 1]) & 3) == 0;
}

bool prv_id_make(const prv_env *env, char out[PRV_ID_LEN])
{
    uint8_t bytes[16];
    if (!env->random || !env->random(env->ctx, bytes, sizeof bytes))
        return false;
    prv_id_unpack(bytes, out);
    return true;
}

size_t prv_change_make(const prv_env *env, char out[PRV_CHANGE_LEN])
{
    uint64_t value;
    char text[24];
    if (!env->random || !env->random(env->ctx, &value, sizeof value))
        return 0;
    const int n = snprintf(text, sizeof text, "%llu", (unsigned long long)(value & INT64_MAX));
    memcpy(out, text, (size_t)n);
    return (size_t)n;
}

/* ------------------------------------------------------------------ RFC 3339 */

#define DAY 86400
#define YEAR_MIN 1970
#define YEAR_MAX 9999
#define TIME_MAX 253402300799 /* 9999-12-31T23:59:59Z */
#define RFC3339_LEN 20

/* Days since 1970-01-01 of a proleptic Gregorian date, and back. Years are counted from March, in
 * eras of 400. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void civil_from_days(int64_t days, int64_t *y, int64_t *m, int64_t *d)
{
    days += 719468;
    int64_t era = days / 146097;
    int64_t day = days - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t rest = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * rest + 2) / 153;
    *d = rest - (153 * month + 2) / 5 + 1;
    *m = month + (month < 10 ? 3 : -9);
    *y = year + era * 400 + (*m <= 2);
}

static void put_digits(char *out, int64_t value, int n)
{
    while (n-- > 0) {
        out[n] = (char)('0' + value % 10);
        value /= 10;
    }
}

size_t prv_rfc3339_format(int64_t s, char out[24])
{
    int64_t y, m, d;
    if (s < 0 || s > TIME_MAX)
        return 0;
    civil_from_days(s / DAY, &y, &m, &d);
    s %= DAY;
    memcpy(out, "0000-00-00T00:00:00Z", RFC3339_LEN);
    put_digits(out, y, 4);
    put_digits(out + 5, m, 2);
    put_digits(out + 8, d, 2);
    put_digits(out + 11, s / 3600, 2);
    put_digits(out + 14, s / 60 % 60, 2);
    put_digits(out + 17, s % 60, 2);
    return RFC3339_LEN;
}

static bool get_digits(const char *p, int n, int64_t lo, int64_t hi, int64_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return *out >= lo && *out <= hi;
}

static int64_t month_days(int64_t y, int64_t m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

bool prv_rfc3339_parse(prv_str text, int64_t *s)
{
    int64_t y, m, d, hour, minute, second;
    const char *p = text.p;
    if (text.n != RFC3339_LEN || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' ||
        p[16] != ':' || p[19] != 'Z')
        return false;
    if (!get_digits(p, 4, YEAR_MIN, YEAR_MAX, &y) || !get_digits(p + 5, 2, 1, 12, &m) ||
        !get_digits(p + 8, 2, 1, month_days(y, m), &d) || !get_digits(p + 11, 2, 0, 23, &hour) ||
        !get_digits(p + 14, 2, 0, 59, &minute) || !get_digits(p + 17, 2, 0, 59, &second))
        return false;
    *s = days_from_civil(y, m, d) * DAY + hour * 3600 + minute * 60 + second;
    return true;
}

/* ------------------------------------------------------------------ age bounds */

#define AGE_MAX 120 /* as privacy_min_age accepts */

static size_t put_bound(char *out, prv_str label, unsigned years)
{
    size_t n = label.n;
    memcpy(out, label.p, n);
    int digits = years >= 100 ? 3 : years >= 10 ? 2 : 1;
    put_digits(out + n, years, digits);
    return n + (size_t)digits;
}

size_t prv_age_format(const prv_age *age, char out[48])
{
    const struct {
        prv_str label;
        unsigned years;
    } bounds[] = {{PRV_STR("ok:"), age->ok},
                  {PRV_STR("under:"), age->under},
                  {PRV_STR("parental:"), age->parental}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        if (bounds[i].years == 0)
            continue;
        if (n > 0)
            out[n++] = ',';
        n += put_bound(out + n, bounds[i].label, bounds[i].years);
    }
    return n;
}

static bool bound_years(prv_str text, uint8_t *years)
{
    unsigned value = 0;
    if (text.n == 0 || text.n > 3 || text.p[0] == '0')
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    if (value > AGE_MAX)
        return false;
    *years = (uint8_t)value;
    return true;
}

static bool bound_read(prv_str item, prv_age *age)
{
    const struct {
        prv_str label;
        uint8_t *years;
    } bounds[] = {{PRV_STR("ok:"), &age->ok},
                  {PRV_STR("under:"), &age->under},
                  {PRV_STR("parental:"), &age->parental}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        prv_str label = bounds[i].label;
        if (item.n > label.n && memcmp(item.p, label.p, label.n) == 0)
            return *bounds[i].years == 0 &&
                   bound_years((prv_str){item.p + label.n, item.n - label.n}, bounds[i].years);
    }
    return false;
}

bool prv_age_parse(prv_str text, prv_age *age)
{
    prv_age found = {.at = age->at};
    size_t at = 0;
    do {
        const char *start = text.p + at;
        const char *comma = at < text.n ? memchr(start, ',', text.n - at) : NULL;
        size_t n = comma ? (size_t)(comma - start) : text.n - at;
        if (n == 0 || !bound_read((prv_str){start, n}, &found))
            return false;
        at += n + 1;
    } while (at <= text.n);
    *age = found;
    return true;
}
