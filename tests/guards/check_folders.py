#!/usr/bin/env python3
"""The house: every folder that holds something has a README.md of one screen, no file holds two ideas, nothing in it
says that it is unfinished. Folders of test vectors are explained one level up."""
import re
import subprocess

from tree import ROOT, end

LINES = 750
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
if len(tracked) < 2:  # an unpacked archive has no git
    tracked = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file() and "build" not in p.parts]
files = [ROOT / f for f in tracked if f and (ROOT / f).is_file()]
wrong = []
folders = {f.parent for f in files} | {f.parent.parent for f in files}
DATA = ("tests/vectors/", "tests/fuzz/seeds", "tests/demo/site", ".ci", ".git")
for folder in sorted(folders):
    if not folder.is_relative_to(ROOT):
        continue
    name = folder.relative_to(ROOT).as_posix()
    if not name.startswith(DATA) and not (folder / "README.md").exists():
        wrong.append(f"{name}/ has no README.md")
for path in files:
    name = path.relative_to(ROOT).as_posix()
    if path.suffix in (".c", ".h", ".py", ".sh", ".mk"):
        text = path.read_text()
        lines = text.count("\n")
        if lines > LINES:
            wrong.append(f"{name}: {lines} lines, more than {LINES}")
        for number, line in enumerate(text.splitlines(), 1):
            if UNFINISHED.search(line):
                wrong.append(f"{name}:{number}: {line.strip()}")
    if path.name == "README.md" and path.read_text().count("\n") > 120:
        wrong.append(f"{name}: more than one screen or two")
end(wrong, f"{len(files)} files, {len(folders)} folders in order")
