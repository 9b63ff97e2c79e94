"""The recipes of config/README.md, run as they stand there, and their effect on a live server."""
import os
import re
import subprocess

import pytest

from harness.client import Visitor
from harness.proc import BUILD, ROOT, wait_for
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("redis")
RECIPES = dict(re.findall(r"```sh recipe=(\w+)\n(.*?)```", (ROOT / "config" / "README.md").read_text(), re.S))


class Desk:
    """An operator's shell: redis-cli and privacyctl know where the store is."""

    def __init__(self, run, redis):
        (run.dir / "ops").write_text("change-me-ops\n")
        (run.dir / "ops").chmod(0o600)
        tools = run.dir / "tools"
        tools.mkdir(exist_ok=True)
        self.script(tools / "redis-cli", f'exec /usr/bin/redis-cli -p {redis.port} --user privacy-ops "$@"')
        self.script(tools / "privacyctl", f'for a in "$@"; do if [ "$a" = --store ]; then more="--password-file {run.dir}/ops"; fi; '
                                          f'done\nexec {BUILD}/privacyctl "$@" $more')
        self.env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "REDISCLI_AUTH": "change-me-ops",
                    "POLICY": str(run.dir / "policy.json"), "KEYS": str(run.dir / "keys"),
                    "STORE": f"redis://privacy-ops@127.0.0.1:{redis.port}"}

    @staticmethod
    def script(path, text):
        path.write_text("#!/bin/sh\n" + text + "\n")
        path.chmod(0o755)

    def run(self, recipe, **env):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", RECIPES[recipe]], cwd=ROOT, capture_output=True, text=True,
                              env={**self.env, **env})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def desk(serve, redis):
    run = serve(Site(Loc("/", proxy=True), Loc("/account/", min_age="13"), log=True,
                     files={"account/index.html": "<p>account</p>"}))
    who = Visitor(run)
    who.choose(statistics=True, marketing=True)
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    assert who.get("/account/").status == 200
    return Desk(run, redis), who, who.consent()["id"]


def test_find(desk):
    shell, _, name = desk
    assert "statistics" in shell.run("find", ID=name)


def test_child(desk):
    shell, who, name = desk
    shell.run("child", ID=name)
    assert wait_for(lambda: who.get("/account/").status == 403, 5)


def test_refuse(desk):
    shell, who, name = desk
    shell.run("refuse", ID=name)
    assert "marketing" not in who.allowed() and "statistics" in who.allowed()


def test_erase(desk, redis):
    shell, who, name = desk
    shell.run("erase", ID=name)
    assert redis.keys() == [] and not {"statistics", "marketing"} & who.allowed()


def test_withdraw(desk):
    shell, who, name = desk
    shell.run("withdraw", ID=name)
    assert who.allowed() == {"necessary"}


def test_lift(desk):
    shell, who, name = desk
    shell.run("child", ID=name)
    assert wait_for(lambda: who.get("/account/").status == 403, 5)  # pushed, not read: within milliseconds
    shell.run("lift", ID=name)
    assert wait_for(lambda: who.get("/account/").status == 200, 5)


def test_count(desk):
    shell, _, _ = desk
    lines = shell.run("count").splitlines()
    assert lines[0].strip() == "1" and "records 1" in lines and "statistics granted 1 refused 0" in lines


def test_discover(desk):
    shell, who, _ = desk
    who.get("/x?discover", ["Cookie: strange_one=1; session=2"])
    row = who.site.logged("/x?discover")
    log = who.site.dir / "for-discover.log"
    log.write_text(f'unknown="{row["unknown"]}"\n')
    out = shell.run("discover", LOG=str(log))
    assert "strange_one" in out and "session" not in out


def test_every_recipe_is_tried():
    tried = set(re.findall(r'shell\.run\("(\w+)"', open(__file__).read()))
    assert set(RECIPES) == tried
