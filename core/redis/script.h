/*
 * Argument layouts of store operations (prv_op.args), and the Lua they run.
 *
 * PRV_OP_CHANGE
 *   [0]          change id
 *   [1]          expected stored seq in decimal, 0 for no record; then perhaps `:` and SHA-1 in hex
 *                of the expected `refused`, `age` and `restricted`, each ended by a newline
 *   [2]          EXPIREAT in seconds
 *   [3]          number n of fields to set, in decimal
 *   [4 .. 4+2n)  field, value
 *   [4+2n ..]    fields to delete
 *   A stored record with the same change id answers as done. A key of another type is replaced. The
 *   reply is {"done"|"conflict", field, value, ...}. Fields not named stay as they are. A stored
 * seq that is no decimal number of 32 bits counts as 0.
 *
 * PRV_OP_AGE
 *   [0]          the age as read, "" for none
 *   [1]          new age
 *   [2]          age_proof, "" for none
 *   [3]          age_at, "" for none
 *   Acts on an existing hash only. If the stored age is not [0], only a lower `under` is merged in.
 *   The reply is {"done", field, value, ...}, or {} where there is no record.
 *
 * PRV_OP_EXPIRE
 *   [0]          seconds
 *   EXPIRE key seconds NX (Redis 7); a reply RECORD without pairs, whether or not there was one.
 *
 * PRV_OP_BIND
 *   [0]          id of the account's record
 *   [1]          EXPIREAT in seconds, that of the record
 */
#ifndef PRV_SCRIPT_H
#define PRV_SCRIPT_H

extern const char prv_script_change[];
extern const char prv_script_age[];
/* KEYS[1], ARGV: a change id, then the fields and values of before. If that change still stands,
 * the record is put back; without fields there was none. The TTL stays. */
extern const char prv_script_undo[];

#endif
