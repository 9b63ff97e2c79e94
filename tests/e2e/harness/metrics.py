"""What privacy_status shows, read as a scraper would."""
import re
import subprocess

from .proc import wait_for

LINE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.samples = []  # (name, {label: value}, number)
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = LINE.match(line)
            assert match, f"no sample: {line!r}"
            labels = {k: re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), v)
                      for k, v in LABEL.findall(match.group(2) or "")}
            self.samples.append((match.group(1), labels, float(match.group(3))))

    def __call__(self, name, **labels):
        """The sum of the samples of this name that have these labels."""
        name = "privacy_" + name
        assert any(n == name or n.startswith(name + "_") for n, _, _ in self.samples) or \
            f"# TYPE {name} " in self.text, f"there is no {name}"
        return sum(v for n, have, v in self.samples
                   if n == name and all(have.get(k) == w for k, w in labels.items()))

    def counted(self):
        """Everything that is not zero, build information aside, for comparing two servers."""
        return {(n, tuple(sorted(l.items()))): v for n, l, v in self.samples if v and n != "privacy_build_info"}


def scrape(run, path="/metrics", host=None):
    answer = run.get(path, host=host)
    assert answer.status == 200, f"{answer.status} {answer.text}"
    return Metrics(answer.text)


def settled(run, name, number, path="/metrics", **labels):
    """The counters once `name` has come to `number`: a request is counted after its answer has left."""
    found = wait_for(lambda: (m := scrape(run, path))(name, **labels) == number and m, 5)
    m = scrape(run, path)
    assert found, f"privacy_{name}{labels} is {m(name, **labels)}, not {number}\n{m.text}"
    return m


def promtool(text):
    """(exit status, everything that promtool said)."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
