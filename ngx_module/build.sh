#!/bin/bash
# build.sh <nginx source tree> <build directory>: leaves <build directory>/ngx_http_privacy_module.so
#
# The tree is Debian's nginx-dev (/usr/share/nginx/src, with the flags of Debian's nginx) or a full nginx source tree, to
# which NGX_CONF adds the flags of the nginx that will load the module. It is only read: configure and its Makefile run
# in a copy made of links. PRV_SANITIZE: further flags for compiling and linking.
set -euo pipefail

src=$(cd "$1" && pwd)
build=$(mkdir -p "$2" && cd "$2" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$build/nginx-tree
objs=$build/nginx-objs

rm -rf "$tree"
mkdir -p "$tree"
for f in "$src"/*; do
    case $(basename "$f") in
        Makefile | objs) ;;
        *) ln -s "$f" "$tree/" ;;
    esac
done
configure=$tree/configure
[ -e "$configure" ] || configure=$tree/auto/configure # a checkout instead of a release

flags=()
if [ -f "$src/conf_flags" ]; then
    . "$src/conf_flags"
    flags=("${NGX_CONF_FLAGS[@]}")
else
    read -r -a flags <<<"--with-compat ${NGX_CONF:-}"
fi

cd "$tree"
bash "$configure" "${flags[@]}" --builddir="$objs" --add-dynamic-module="$here" \
    --with-cc-opt="${CFLAGS:--O2 -g} -fPIC -Wextra -Wno-missing-field-initializers -Wno-sign-compare ${PRV_SANITIZE:-}" \
    --with-ld-opt="-Wl,-z,relro -Wl,-z,now ${PRV_SANITIZE:-}" >"$build/nginx-configure.log" || {
    cat "$build/nginx-configure.log" >&2
    exit 1
}

# Our own files once more with all warnings, nginx's headers being system headers here and not above.
for f in "$here"/*.c; do
    ${CC:-gcc} -std=gnu17 -fsyntax-only -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror \
        $(printf -- '-isystem %s ' "$src"/src/{core,event,event/modules,event/quic,os/unix,http,http/modules,http/v2,http/v3} "$objs") "$f"
done

# Without what our own make was told on its command line: CFLAGS=… there would replace nginx's own.
MAKEFLAGS='' MAKEOVERRIDES='' make -s -f "$objs/Makefile" -j2 modules
install -m 644 "$objs/ngx_http_privacy_module.so" "$build/ngx_http_privacy_module.so"
