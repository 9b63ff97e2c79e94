#!/usr/bin/env python3
"""Each server's module exports its module structure and nothing else, so that no other module's library meets ours.

hiredis is linked in statically and hidden (nchan exports a bundled one of another version); jansson and libcrypto
come from the system.
"""
import os
import subprocess
from pathlib import Path

from tree import ROOT, end

BUILD = Path(os.environ.get("PRV_BUILD", ROOT / "build"))
EXPORTS = {"mod_privacy.so": {"privacy_module"},
           "ngx_http_privacy_module.so": {"ngx_modules", "ngx_module_names", "ngx_module_order"}}
# what nginx's own build may export beside the three that it looks up
ALLOWED = {"ngx_http_privacy_module.so": {"ngx_http_privacy_module", "ngx_http_privacy_filter_module",
                                          "ngx_http_privacy_module_ctx"}}
wrong = []
for library, needed in EXPORTS.items():
    path = BUILD / library
    if not path.exists():
        wrong.append(f"{path}: not built")
        continue
    out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    found = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    wrong += [f"{library}: {symbol} is missing" for symbol in sorted(needed - found)]
    wrong += [f"{library}: {symbol} is exported and should be hidden"
              for symbol in sorted(found - needed - ALLOWED.get(library, set()))]
    undefined = subprocess.run(["nm", "-D", "--undefined-only", path], capture_output=True, text=True, check=True).stdout
    wrong += [f"{library}: {line.split()[-1]} would be looked up elsewhere; hiredis is to be linked in"
              for line in undefined.splitlines() if "redis" in line]
    needs = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout
    wrong += [f"{library}: depends on {line.split()[-1]}" for line in needs.splitlines()
              if "NEEDED" in line and "hiredis" in line]
end(wrong, "both modules export their module and nothing else")
