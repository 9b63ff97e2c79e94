#!/bin/bash
# make check-debian13: builds this tree on Debian 13 and runs what tests about the store, with its nginx 1.26, hiredis 1.2,
# Redis 8 and Valkey: unit tests, then the end-to-end tests of the store, faults and TLS. The last line is `N passed, N failed`.
#
# Debian 13 is a directory below build/, made once by debootstrap from the mirror that this machine's apt uses (a minute,
# 1.8 GiB with its packages and objects); `rm -r build/debian13` makes it anew. Everything runs in namespaces of its own: what it mounts
# and starts ends with it, however it ends, and while it tests there is no network but loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${PRV_BUILD:-$PWD/build}/debian13
root=$work/root
release=trixie

fail() {
    echo "check-debian13: $*" >&2
    echo "0 passed, 1 failed"
    exit 1
}

[ "$(id -u)" = 0 ] || exec sudo PRV_BUILD="${PRV_BUILD:-$PWD/build}" JOBS="${JOBS:-2}" bash tests/debian13.sh
mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || fail "another one runs in $work"

# inside [--offline] COMMAND: in the chroot, in mount and process namespaces that end with the command
inside() {
    local net=() up=:
    if [ "$1" = --offline ]; then
        net=(--net)
        up='chroot "$root" ip link set lo up'
        shift
    fi
    unshare --mount --pid --fork --kill-child "${net[@]}" bash -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        '"$up"'
        chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 JOBS='"${JOBS:-2}"' "$@" && exit
        exit $?' bash "$root" "$@"
}

# The archive that this machine's own release comes from has the next one too.
mirror() {
    (. /etc/os-release && apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' \
        "Codename: $VERSION_CODENAME") | sed -n 1p
}

if [ ! -e "$work/ready" ]; then
    command -v debootstrap >/dev/null || bash tests/deps.sh || fail "debootstrap cannot be installed"
    from=$(mirror)
    [ -n "$from" ] || { apt-get update -qq && from=$(mirror); }
    [ -n "$from" ] || fail "this machine's apt names no archive of Debian"
    rm -rf "$root"
    unshare --mount debootstrap --variant=minbase "$release" "$root" "$from" >"$work/debootstrap.log" 2>&1 ||
        fail "debootstrap failed; see $work/debootstrap.log"
    # how this machine reaches its archive
    apt-config dump Acquire | { grep -E '^Acquire::(http|https|Check)[^ ]* "' || true; } >"$root/etc/apt/apt.conf.d/90host"
    touch "$work/ready"
fi

# The tree as it stands here, what is not committed included; objects of an earlier run stay.
mkdir -p "$root/src"
find "$root/src" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -co --exclude-standard -z | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done
else
    find . -path ./build -prune -o -type f -print0
fi | tar --null -T - -cf - | tar -C "$root/src" -xf -

inside bash -c 'cd /src && bash tests/deps.sh' >"$work/deps.log" 2>&1 || { tail -20 "$work/deps.log" >&2; fail "the packages cannot be installed"; }
inside --offline bash -c 'cd /src && PRV_BUILD=/src/build /usr/bin/python3 tests/check.py --store --jobs "$JOBS"; exit $?'
