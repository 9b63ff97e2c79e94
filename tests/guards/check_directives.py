#!/usr/bin/env python3
"""Directives: the tables of both modules, both READMEs and the tests name the same ones; what a configuration holds is
merged from parent to child."""
import re

from tree import ROOT, end, sources, uncommented

TESTS = ROOT / "tests" / "e2e" / "test_directives.py"
wrong = []


def camel(directive):
    return "".join(part.capitalize() for part in directive.split("_"))


def table(folder, pattern):
    text = "".join(uncommented(path) for path in sources(f"{folder}/*.c"))
    return set(re.findall(pattern, text))


def compare(what, found, expected):
    wrong.extend(f"{what} lacks {n}" for n in sorted(expected - found))
    wrong.extend(f"{what} has {n}, which the others do not know" for n in sorted(found - expected))


nginx = table("ngx_module", r'ngx_string\("(privacy(?:_[a-z_]+)?)"\),\s*(?:[MSL]|NGX_)')
httpd = table("apache_module", r'(?:ONE|LIST|SWITCH|AP_INIT_[A-Z0-9_]+)\("(Privacy[A-Za-z]*)"')
if len(nginx) < 15 or len(httpd) < 15:
    wrong.append(f"only {len(nginx)} and {len(httpd)} directives found in the modules' tables")
compare("apache_module's table", httpd, {camel(n) for n in nginx})

for folder, names in (("ngx_module", nginx), ("apache_module", httpd)):
    text = (ROOT / folder / "README.md").read_text()
    rows = set(re.findall(r"^\| `([Pp]rivacy[A-Za-z_]*)", text, re.M))
    for more in re.findall(r"^\| (`[Pp]rivacy[^|]*)\|", text, re.M):
        rows |= set(re.findall(r"`([Pp]rivacy[A-Za-z_]*)", more))
    compare(f"{folder}/README.md", rows, names)

text = TESTS.read_text()
rows = set(re.findall(r'"(privacy(?:_[a-z_]+)?)": check_', text))
compare("ROWS of tests/e2e/test_directives.py", rows, nginx)

# Each field of a mergeable configuration is named where parent and child meet, or stands here with its reason.
OWN = {
    "ngx_http_privacy_srv_conf_t": {"strongest": "collected over the server's locations"},
    "ngx_http_privacy_loc_conf_t": {
        "require_place": "where a message points", "age_place": "where a message points",
        "vendor_place": "where a message points", "endpoint_place": "where a message points"},
    "prv_dir_conf": {},
    "prv_server_conf": {n: "main server only, copied with the parent" for n in
                        ("zone_bytes", "store_url", "store_at", "password_file", "tls_ca", "tls_cert", "tls_key", "timeout_ms", "store_wait", "prefix", "store",
                         "shared")},
}


def fields(header, struct):
    match = re.search(r"typedef struct[^{;]*\{((?:[^{}])*)\}\s*" + struct + r"\s*;", header)
    if not match:
        wrong.append(f"{struct} was not found")
        return []
    return [re.sub(r"\s*:\s*\d+$|\[.*$", "", line.strip()).split()[-1].lstrip("*")
            for line in match.group(1).split(";") if line.strip()]


for folder, structs, merge in (("ngx_module", ("ngx_http_privacy_srv_conf_t", "ngx_http_privacy_loc_conf_t"), r"merge_\w+\("),
                               ("apache_module", ("prv_dir_conf", "prv_server_conf"), r"prv_(?:dir|server)_merge\(")):
    header = "".join(uncommented(path) for path in sources(f"{folder}/*.h"))
    bodies = ""
    for path in sources(f"{folder}/*.c"):
        for function in re.split(r"\n(?=\w[^\n;]*\([^;]*\n\{)", uncommented(path)):
            if re.search(merge, function.split("\n{")[0]):
                bodies += function
    for struct in structs:
        for field in fields(header, struct):
            if field not in OWN[struct] and not re.search(r"\b" + field + r"\b", bodies):
                wrong.append(f"{folder}: {struct}.{field} is not merged from parent to child")

end(wrong, f"{len(nginx)} directives, in both tables, both READMEs and the tests, merged from parent to child")
