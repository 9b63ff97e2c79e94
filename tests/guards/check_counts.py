#!/usr/bin/env python3
"""One behaviour, one test for both servers: as many tests passed on nginx as on httpd, and the same ones.

check_counts.py REPORT reads the JUnit report of the end-to-end run.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

from tree import end

if len(sys.argv) != 2:
    sys.exit("check_counts.py REPORT")
passed = {"nginx": Counter(), "httpd": Counter()}
for case in ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
    if any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
        continue
    server = re.search(r"\[(nginx|httpd)\b", case.get("name"))
    if server:
        name = case.get("name").replace(server.group(1), "SERVER", 1)
        passed[server.group(1)][f"{case.get('classname')}::{name}"] += 1
wrong = []
for here, there in (("nginx", "httpd"), ("httpd", "nginx")):
    wrong += [f"passed on {here} alone: {name}" for name in sorted(passed[here] - passed[there])]
totals = {server: sum(counts.values()) for server, counts in passed.items()}
if not all(totals.values()):
    wrong.append(f"the report has {totals['nginx']} and {totals['httpd']} passed tests")
end(wrong, f"{totals['nginx']} tests passed on nginx and the same {totals['httpd']} on httpd")
