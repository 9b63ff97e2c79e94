#!/bin/bash
# Installs the packages of tests/packages.txt, and of lists that are named, that are missing. Services that come with them are not started and
# stay switched off; whoever runs nginx, httpd or Redis as a service already is left alone.
set -euo pipefail
cd "$(dirname "$0")"

have() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# `package [release]` is for that release of Debian alone.
wanted() { . /etc/os-release && sed 's/#.*//' packages.txt "$@" | awk -v mine="[${VERSION_CODENAME:-}]" 'NF == 1 || $2 == mine { print $1 }'; }

missing=()
for package in $(wanted "$@"); do
    have "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing from Debian: ${missing[*]}"

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "these packages need root, and there is no sudo: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi

# policy-rc.d answers 101, "do not start", while packages are set up; one that is there already keeps its word.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    "${as_root[@]}" chmod 755 $policy
    trap '"${as_root[@]}" rm -f $policy' EXIT
fi

before=""
for unit in nginx apache2 redis-server valkey-server prometheus; do
    have "$unit" && before+=" $unit "
done
apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get "$@"; }
apt_get update -qq
apt_get install -y -qq --no-install-recommends "${missing[@]}"

if [ -d /run/systemd/system ]; then
    for unit in nginx apache2 redis-server valkey-server prometheus; do
        if have "$unit" && [[ "$before" != *" $unit "* ]]; then
            "${as_root[@]}" systemctl disable --quiet "$unit" || true # not at the next boot either
        fi
    done
fi
