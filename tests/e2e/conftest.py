"""Fixtures. A test that asks for `serve` runs on both servers and, unless it names its stores, with store off and Redis."""
import os

import pytest

from harness.client import Visitor
from harness.faultproxy import FaultProxy
from harness.proc import BUILD, SLOW
from harness.redisd import Redis
from harness.servers import Running, new_keys, try_config
from harness.upstream import Upstream

SERVERS = ("nginx", "httpd")
STORES = ("off", "redis")
KEEP = 10  # running servers of one kind that wait for another test with the same site


def pytest_configure(config):
    config.addinivalue_line("markers", "stores(*names): the stores that a test runs with")
    config.addinivalue_line("markers", "asan: in the subset that `make check-asan` runs on sanitised servers")


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", SERVERS)
    if "store" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("stores")
        metafunc.parametrize("store", marker.args if marker else STORES)


def pytest_sessionstart(session):
    missing = [n for n in ("ngx_http_privacy_module.so", "mod_privacy.so", "privacyctl") if not (BUILD / n).exists()]
    if missing:
        pytest.exit(f"{BUILD} has no {', '.join(missing)}: run make first", 2)


def pytest_report_header():
    return f"server binaries built in {os.environ.get('PRV_BUILD', 'build')}"


@pytest.fixture(scope="session")
def session_upstream():
    up = Upstream()
    yield up
    up.close()


@pytest.fixture
def upstream(session_upstream):
    session_upstream.reset()
    return session_upstream


@pytest.fixture(scope="session")
def session_redis():
    server = Redis()
    yield server
    server.close()


@pytest.fixture(scope="session")
def keys_text():
    return new_keys()


@pytest.fixture
def redis(session_redis):
    session_redis.r.flushall()
    session_redis.r.acl_log_reset()
    yield session_redis
    assert session_redis.refused() == [], "config/redis.acl does not permit what was asked"


@pytest.fixture
def own_redis():
    """A Redis that a test may stop, kill or break."""
    server = Redis()
    yield server
    server.close()


@pytest.fixture
def fault(own_redis):
    proxy = FaultProxy(own_redis.port)
    yield proxy
    proxy.close()


class Pool:
    """Running servers by the site they were started with."""

    def __init__(self):
        self.running = {}
        self.complaints = []

    def end(self, run):
        run.stop()
        self.complaints += run.complaints()
        run.close()

    def get(self, server, site, fill, keys_text):
        key = (server, site.fingerprint(server))
        run = self.running.pop(key, None)
        if run and not run.process.alive():
            run.close()
            run = None
        if run is None:
            mine = [k for k in self.running if k[0] == server]
            if len(mine) >= KEEP:
                self.end(self.running.pop(mine[0]))
            run = Running(server, site, fill, keys_text)
        self.running[key] = run  # the last one used stands last
        return run

    def close(self):
        for run in self.running.values():
            self.end(run)
        return self.complaints


@pytest.fixture(scope="session")
def pool():
    servers = Pool()
    yield servers
    complaints = servers.close()
    assert not complaints, "\n".join(complaints)


def filling(upstream, redis):
    fill = {"upstream": upstream.port}
    if redis:
        fill["redis"] = redis.port
        fill["redis_password"] = redis.password_file
        fill["redis_socket"] = redis.socket
    return fill


class Serve:
    """serve(site) gives a running server; fresh=True one that no other test shares; server= the other kind."""

    def __init__(self, server, store, pool, upstream, redis, keys_text):
        self.server, self.store, self.pool = server, store, pool
        self.upstream, self.redis, self.keys_text = upstream, redis, keys_text
        self.used, self.own = [], []
        self.allowed = []

    def __call__(self, site, fresh=False, server=None, redis=None, keys_text=None, **fill):
        server = server or self.server
        if site.store == "off" and self.store == "redis" and site.gate:
            site.store = "redis"
        values = {**filling(self.upstream, redis or self.redis), **fill}
        keys_text = keys_text or self.keys_text
        if fresh:
            run = Running(server, site, values, keys_text)
            self.own.append(run)
        else:
            run = self.pool.get(server, site, values, keys_text)
        run.new_log()
        self.used.append(run)
        return run

    def check(self, site, change=None, server=None):
        """The server's own configuration check: (status, output)."""
        if site.store == "off" and self.store == "redis" and site.gate:
            site.store = "redis"
        return try_config(server or self.server, site, filling(self.upstream, self.redis), self.keys_text, change)

    def tolerate(self, text):
        """Fatal log lines with this text are part of the test."""
        self.allowed.append(text)

    def finish(self):
        for run in self.own:
            run.stop()
        lines = [l for run in self.used for l in run.complaints() if not any(a in l for a in self.allowed)]
        for run in self.own:
            run.close()
        assert not lines, "the error log has\n" + "\n".join(lines)


@pytest.fixture
def serve(server, store, pool, upstream, keys_text, request):
    redis = request.getfixturevalue("redis") if store == "redis" else None
    if "own_redis" in request.fixturenames:
        redis = request.getfixturevalue("own_redis")
    out = Serve(server, store, pool, upstream, redis, keys_text)
    yield out
    out.finish()


@pytest.fixture
def visitor():
    """visitor(run) is a browser that keeps cookies."""
    return Visitor


@pytest.fixture
def slow():
    return SLOW
