#!/usr/bin/env python3
"""The dependency rule of the design, on #include lines.

core/ includes no server's header; only redis/ includes hiredis; only policy/, rights/ and privacyctl/ include jansson;
bindings include core/privacy.h alone. Arrows point one way: policy <- state <- request <- rights, content; redis knows
state and nothing above it.
"""
import os
import re

from tree import ROOT, end, name, sources

# folder of core/ -> folders that it may include from
ARROWS = {
    "policy": set(), "state": {"policy"}, "request": {"policy", "state"}, "redis": {"policy", "state"},
    "content": {"policy", "state", "request"}, "rights": {"policy", "state", "request", "content"},
    "privacyctl": {"policy", "state", "request", "rights", "content", "redis"},
}
SERVER = re.compile(r"^(ngx_|nginx|httpd|http_|apr|ap_|util_|scoreboard|mod_)")
wrong, seen = [], 0
for path in sources("core/**/*.c", "core/**/*.h", "ngx_module/*.[ch]", "apache_module/*.[ch]"):
    binding = path.parts[len(ROOT.parts)] != "core"
    folder = path.parent.name
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        seen += 1
        kind, header = match.groups()
        place = f"{name(path)}:{number}: {header}"
        inside = None
        if kind == '"':
            target = os.path.normpath(path.parent / header)
            if target.startswith(str(ROOT / "core")):
                inside = os.path.relpath(target, ROOT / "core")
        if binding:
            if inside and inside != "privacy.h":
                wrong.append(f"{place}: a binding includes core/privacy.h alone")
            if re.match(r"jansson|hiredis", header):
                wrong.append(f"{place}: a binding knows neither jansson nor hiredis")
            continue
        if SERVER.match(os.path.basename(header)) and not inside:
            wrong.append(f"{place}: core/ knows no server")
        if header.startswith("hiredis") and folder != "redis":
            wrong.append(f"{place}: only core/redis includes hiredis")
        if header.startswith("jansson") and folder not in ("policy", "rights", "privacyctl"):
            wrong.append(f"{place}: only policy, rights and privacyctl include jansson")
        if inside and "/" in inside and folder in ARROWS:
            target = inside.split("/")[0]
            if target != folder and target not in ARROWS[folder]:
                wrong.append(f"{place}: {folder}/ may not know {target}/")
if seen < 50:
    wrong.append(f"only {seen} #include lines found: the guard looks in the wrong place")
end(wrong, f"{seen} #include lines keep the dependency rule")
