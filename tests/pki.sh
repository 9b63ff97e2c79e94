#!/bin/bash
# pki.sh DIRECTORY: makes the certificates that tests of TLS need, each NAME.pem with its NAME.key.
#   ca, other-ca: two authorities, of which tests trust the first
#   server: for 127.0.0.1, ::1 and localhost; renewed: the same once more; client: for nobody, signed by ca
#   wrong: for another host and address; named: for localhost alone; common: 127.0.0.1 only as common name
#   expired; early: not valid yet; selfmade: signed by nobody; stranger: as server, and foreign: as client, both by other-ca
#   locked.key: client.key under a pass phrase
set -euo pipefail
cd "$1"
quiet() { "$@" 2>openssl.log || { cat openssl.log >&2; exit 1; }; }

new_key() { quiet openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; chmod 600 "$1.key"; }

authority() {
    new_key "$1"
    quiet openssl req -x509 -new -key "$1.key" -days 30 -subj "/CN=$1" -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
    mkdir "$1.db"
    touch "$1.db/index"
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s.db/index\nunique_subject=no\nnew_certs_dir=%s.db\nrand_serial=yes\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n' \
        "$1" "$1" >"$1.cnf"
}

# issue AUTHORITY NAME COMMON_NAME SAN [FROM TO]: times as YYYYMMDDHHMMSSZ
issue() {
    new_key "$2"
    local names=()
    [ -z "$4" ] || names=(-addext "subjectAltName=$4")
    quiet openssl req -new -key "$2.key" -subj "/CN=$3" "${names[@]}" -out "$2.csr"
    quiet openssl ca -batch -config "$1.cnf" -cert "$1.pem" -keyfile "$1.key" -notext -in "$2.csr" -out "$2.pem" \
        -startdate "${5:-20200101000000Z}" -enddate "${6:-20490101000000Z}"
}

here=IP:127.0.0.1,IP:::1,DNS:localhost
authority ca
authority other-ca
issue ca server redis "$here"
issue ca renewed redis "$here"
issue ca client node ""
issue ca wrong redis DNS:elsewhere.example,IP:127.0.0.9
issue ca named redis DNS:localhost
issue ca common 127.0.0.1 ""
issue ca expired redis "$here" 20200101000000Z 20200201000000Z
issue ca early redis "$here" 20480101000000Z 20490101000000Z
issue other-ca stranger redis "$here"
issue other-ca foreign node ""
new_key selfmade
quiet openssl req -x509 -new -key selfmade.key -days 30 -subj /CN=redis -addext "subjectAltName=$here" -out selfmade.pem
quiet openssl pkey -in client.key -aes256 -passout pass:secret -out locked.key
chmod 600 locked.key
