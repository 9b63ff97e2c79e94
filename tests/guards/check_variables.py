#!/usr/bin/env python3
"""Variables: the core's table, both READMEs and the tests' log format name the same ones."""
import re
import sys

from tree import ROOT, end

core = (ROOT / "core" / "request" / "variables.c").read_text()
names = set(re.findall(r'\[PRV_VAR_[A-Z_]+\]\s*=\s*(?:\{|PRV_STR\()"([a-z_]+)"', core))
wrong = [] if len(names) >= 10 else [f"only {len(names)} variables found in core/request/variables.c"]
nginx = set(re.findall(r"\$privacy_([a-z_]+)", (ROOT / "ngx_module" / "README.md").read_text()))
httpd = {n.lower() for n in re.findall(r"PRIVACY_([A-Z_]+)", (ROOT / "apache_module" / "README.md").read_text())}
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from harness.site import Site  # noqa: E402  (after the path)

for what, found in (("ngx_module/README.md", nginx), ("apache_module/README.md", httpd),
                    ("tests/e2e/harness/site.py", set(Site.VARIABLES))):
    wrong += [f"{what} does not name {n}" for n in sorted(names - found)]
    wrong += [f"{what} names {n}, which the core does not have" for n in sorted(found - names)]
end(wrong, f"{len(names)} variables, in the core, both READMEs and the tests")
