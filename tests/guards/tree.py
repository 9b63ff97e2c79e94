"""What the guards share: the tree's paths, and how a guard ends."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources(*patterns):
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def name(path):
    return path.relative_to(ROOT).as_posix()


def uncommented(path):
    """A C file's text without comments; strings stay, line numbers too."""
    def blank(match):
        text = match.group(0)
        return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', blank, path.read_text(), flags=re.S)


def end(wrong, held):
    for line in wrong:
        print(line)
    if not wrong:
        print(held)
    sys.exit(1 if wrong else 0)
