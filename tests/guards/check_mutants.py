#!/usr/bin/env python3
"""Mistakes on purpose (core/mutant.h) are in no module that is shipped, each is named in the header's list and tried by a
scenario, and none stands in more than two places."""
import os
import re
from pathlib import Path

from tree import ROOT, end, sources

BUILD = Path(os.environ.get("PRV_BUILD", ROOT / "build"))
wrong = []
listed = set(re.findall(r"^ \*   ([a-z][a-z-]+)  ", (ROOT / "core/mutant.h").read_text(), re.M))
used = {}
for path in sources("core/**/*.[ch]", "ngx_module/*.[ch]", "apache_module/*.[ch]"):
    if path.name != "mutant.h":
        for word in re.findall(r'PRV_MUTANT\("([^"]*)"\)', path.read_text()):
            used.setdefault(word, []).append(path.relative_to(ROOT).as_posix())
scenarios = (ROOT / "tests/faults/scenarios.py").read_text()
tried = set(re.findall(r'^    "([a-z-]+)": \w+,$', scenarios, re.M))
for name in sorted(listed | set(used) | tried):
    for where, there in (("core/mutant.h", listed), ("the code", used), ("tests/faults/scenarios.py", tried)):
        if name not in there:
            wrong.append(f"{name} is not in {where}")
    if len(used.get(name, [])) > 2:
        wrong.append(f"{name} stands in {', '.join(used[name])}")
for library in ("mod_privacy.so", "ngx_http_privacy_module.so", "privacyctl"):
    path = BUILD / library
    if path.exists() and b"PRV_MUTANT" in path.read_bytes():
        wrong.append(f"{path} can be wrong on purpose: it was built with MUTANTS=1")
end(wrong, f"{len(listed)} mistakes on purpose, none in what is shipped")
