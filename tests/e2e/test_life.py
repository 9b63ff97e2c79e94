"""Reloads, other MPMs, other modules beside us, and what an installation leaves."""
import subprocess
import threading
import time

import pytest

from harness.client import Visitor
from harness.proc import BUILD, ROOT, SLOW, remove, work_dir
from harness.servers import user_line
from harness.site import Loc, Site

NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"


def site(**more):
    return Site(Loc("/", proxy=True), Loc("/stats/", proxy=True, require="statistics"), **more)


def granted(run):
    who = Visitor(run)
    deadline = time.monotonic() + 5 * SLOW
    while time.monotonic() < deadline:
        if who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 200:
            return who
        time.sleep(0.05)
    raise AssertionError("no grant")


@pytest.mark.asan
def test_reload_under_load(serve):
    """nginx -s reload, apachectl graceful: no request fails, no choice is lost."""
    run = serve(site(), fresh=True)
    who = granted(run)
    stop, failures, done = threading.Event(), [], [0]

    def load():
        mine = Visitor(run)
        mine.jar = dict(who.jar)
        while not stop.is_set():
            try:
                status = mine.get("/stats/x").status
                done[0] += 1
                if status != 200:
                    failures.append(status)
            except OSError as why:
                failures.append(why)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        run.reload()
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert done[0] > 20 and not failures, failures[:5]


def test_a_reload_takes_a_new_policy(serve):
    from harness.policies import policy
    run = serve(site(), fresh=True)
    who = granted(run)
    kept = run.site.store
    run.write(site(policy=policy(policy={"version": "2025-01-01", "since": "2025-01-01"}), store=kept))
    run.reload()
    assert who.consent()["policy_version"] == "2025-01-01"
    assert "statistics" not in who.allowed(), "a new version asks again"
    assert granted(run).get("/stats/x").status == 200


def test_another_hiredis_beside_ours(serve, server, store):
    """nchan exports the hiredis it bundles, and is loaded first; httpd: mod_socache_redis."""
    if server == "nginx":
        more = dict(nginx_top=f"load_module {NCHAN};")
    else:
        more = dict(modules=("socache_redis",))
    run = serve(site(**more), fresh=True)
    who = granted(run)
    assert who.get("/stats/x").status == 200
    if store == "redis":
        assert run.log().count("not stored") == 0


@pytest.mark.parametrize("mpm", ["worker", "prefork"])
def test_other_process_models(serve, server, mpm):
    """httpd: worker and prefork; nginx: one worker, and one process with no master."""
    if server == "httpd":
        more = dict(mpm=mpm)
    else:
        more = dict(workers=1) if mpm == "worker" else dict(workers=1, nginx_top="master_process off;")
    run = serve(site(**more), fresh=True)
    who = granted(run)
    for _ in range(20):
        assert who.get("/stats/x").status == 200
    who.choose(statistics=False)
    assert who.get("/stats/x").status == 403


def test_a_stop_is_quiet(serve):
    """Nothing is left open, nothing is logged that an operator would look into."""
    run = serve(site(), fresh=True)
    granted(run).get("/stats/x")
    run.reload()
    run.stop()
    bad = [l for l in run.log().splitlines() if "[alert]" in l or "[crit]" in l or "[emerg]" in l or "still open" in l]
    assert bad == []


@pytest.mark.stores("off")
def test_what_an_installation_leaves(server):
    """make install DESTDIR: the files of one server and what both share."""
    target = work_dir("install")
    try:
        done = subprocess.run(["make", "-s", "--no-print-directory", "install", f"DESTDIR={target}", f"BUILD={BUILD}"],
                              cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        module = {"nginx": "usr/lib/nginx/modules/ngx_http_privacy_module.so",
                  "httpd": "usr/lib/apache2/modules/mod_privacy.so"}[server]
        share = target / "usr/share/privacy-gate"
        for path in (target / module, target / "usr/bin/privacyctl", share / f"{server}.conf", share / "policy.json",
                     share / f"snippets/gate.{server}.conf", share / "redis.conf", share / "redis.acl",
                     target / "etc/privacy-gate/policy.json"):
            assert path.is_file(), path
        assert subprocess.run([target / "usr/bin/privacyctl", "policy", "check", share / "policy.json"]).returncode == 0
    finally:
        remove(target)


@pytest.mark.stores("off")
def test_the_sample_configuration(server):
    """config/nginx.conf and config/httpd.conf pass the servers' own check, with paths as in the tree."""
    import sys
    sys.path.insert(0, str(ROOT / "tests" / "demo"))
    try:
        import stage
    finally:
        sys.path.pop(0)
    demo = stage.Stage()
    try:
        demo.prepare()
        demo.launch = lambda name, argv: demo.checked.append(
            subprocess.run([str(a) for a in argv if a not in ("-g", "daemon off;", "-DFOREGROUND")] + ["-t"],
                           capture_output=True, text=True))
        demo.checked = []
        getattr(demo, f"start_{server}")()
        assert demo.checked[0].returncode == 0, demo.checked[0].stderr
        assert "warn" not in demo.checked[0].stderr.lower(), demo.checked[0].stderr
        assert user_line(server) == "" or "www-data" in (ROOT / "config" / f"{server}.conf").read_text()
    finally:
        demo.close()
