#!/usr/bin/env python3
"""The core is free of warnings under clang as well; gcc sees it in every build."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import ROOT, end, name, sources

FLAGS = ("-std=c17 -D_GNU_SOURCE -fsyntax-only -Icore -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror").split()


def check(path):
    done = subprocess.run([os.environ.get("CLANG", "clang"), *FLAGS, str(path)], cwd=ROOT, capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"{name(path)}:\n{done.stderr}"]


files = sources("core/**/*.c")
with ThreadPoolExecutor(2) as pool:
    wrong = [line for lines in pool.map(check, files) for line in lines]
if len(files) < 20:
    wrong.append(f"only {len(files)} files found")
end(wrong, f"{len(files)} files of the core without a warning")
