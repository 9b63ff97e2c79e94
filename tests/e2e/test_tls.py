"""TLS to Redis. Where it is offered: the peer is always verified, and what fails is one line and no page. Where it is
not (hiredis before 1.0): refused in words."""
import os
import time

import pytest

from harness import tlsd
from harness.client import Visitor
from harness.ctl import privacyctl
from harness.proc import SLOW, wait_for
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("off")


def site(url, redis=None, ca="ca.pem", own=None, **main):
    if redis:
        main["store_password_file"] = redis.password_file
        if ca:
            main["store_tls_ca"] = redis.pki.path(ca)
        if own:
            main["store_tls_cert"], main["store_tls_key"] = redis.pki.path(own + ".pem"), redis.pki.path(own + ".key")
    return Site(Loc("/", proxy=True), Loc("/stats/", proxy=True, require="statistics"),
                Loc("/strict/", proxy=True, require="statistics", on_store_failure="deny"), store=url, main=main)


def plain(text):
    """httpd writes the names of directives as its own are written."""
    return text.lower().replace("_", "")


def refused(serve, url, *words, **main):
    """`nginx -t`, `httpd -t`: refused, in words and with a place."""
    status, said = serve.check(Site(store=url, main=main))
    assert status != 0, "accepted"
    for word in words:
        assert plain(word) in plain(said), said
    assert ".conf" in said and "Segmentation" not in said


FILES = {"store_tls_ca": "privacy_store_tls_ca", "store_tls_cert": "privacy_store_tls_cert",
         "store_tls_key": "privacy_store_tls_key"}


@pytest.fixture
def pki():
    made = tlsd.Pki()
    yield made
    tlsd.remove(made.dir)


if not tlsd.offered():
    @pytest.mark.parametrize("url", ["rediss://127.0.0.1:6380", "rediss://privacy@redis.example.com/1",
                                     "rediss+sentinel://127.0.0.1:1/master"])
    def test_tls_is_refused_in_words(serve, url):
        refused(serve, url, "TLS needs hiredis 1.0 or later, and this is built with 0.", "redis+unix://")

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "redis+unix:///run/redis.sock", "off"])
    def test_the_files_of_tls_are_refused_in_words(serve, pki, url, name):
        refused(serve, url, f"{FILES[name]}: TLS needs hiredis 1.0 or later", **{name: pki.path("ca.pem")})

    def test_privacyctl_refuses_in_words(server):
        done = privacyctl("consent", "get", "a" * 26, "--store", "rediss://127.0.0.1:6380", check=False)
        assert done.returncode == 1 and "TLS needs hiredis 1.0 or later" in done.stderr

else:
    @pytest.fixture
    def tls_redis():
        server = tlsd.TlsRedis()
        yield server
        server.close()

    @pytest.fixture
    def over(serve, tls_redis):
        """A server that comes to `tls_redis` as told; with a store_timeout of its own, so that pages show who waits."""
        def start(host="127.0.0.1", timeout="300ms", **more):
            url = f"rediss://privacy@{host}:{tls_redis.tls_port}/0"
            return serve(site(url, tls_redis, store_timeout=timeout, **more), fresh=True)
        return start

    def grants(run, seconds=8):
        """A visitor whose grant Redis took, as soon as one can be had."""
        who = Visitor(run)
        done = wait_for(lambda: who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 200, seconds)
        assert done, run.log()
        assert who.get("/strict/x").status == 200
        return who

    def unavailable(run, *words):
        """Everything but new grants works, nobody waits for longer than the timeout, and the log says why, once."""
        who = Visitor(run)
        start = time.monotonic()
        assert who.get("/x").status == 200
        assert who.get("/stats/x").status == 403
        assert who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 503
        assert who.post_json("/privacy/consent", {"purposes": {"statistics": False}}).status == 202
        for _ in range(10):
            assert who.get("/x").status == 200
        assert time.monotonic() - start < 3 * SLOW, "requests waited for a store that cannot be had"
        log = wait_for(lambda: (text := run.log()) and all(plain(w) in plain(text) for w in words) and text, 5)
        assert log, run.log()
        assert "PRIVATE KEY" not in log and "change-me" not in log

    # ---- what works

    def test_choices_are_kept_over_tls(over, tls_redis):
        first, second = over(), over(host="localhost")
        who = grants(first)
        assert tls_redis.record(who.consent()["id"])["granted"] == "statistics"
        elsewhere = Visitor(second)
        elsewhere.jar = who.jar
        assert wait_for(lambda: elsewhere.get("/strict/x").status == 200, 5)
        assert "TLS" not in first.log() + second.log() and "certificate" not in first.log() + second.log()

    def test_changes_are_pushed_over_tls(over, tls_redis):
        """The link is a TLS connection as well: a cached visitor is not read again, and a change by hand is heard."""
        run = over()
        who = grants(run)
        record = f"privacy:consent:{{{who.consent()['id']}}}"

        def reads():
            return tls_redis.r.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]

        def quiet():
            before = reads()
            for _ in range(20):
                assert who.get("/strict/x").status == 200
            return reads() == before

        assert wait_for(quiet, 8), "the link does not come up"
        tls_redis.cli("HSET", record, "refused", "statistics")
        assert wait_for(lambda: who.get("/strict/x").status == 403, 5)
        tls_redis.show("wrong")  # the link cannot come back: what was heard is vouched for by nobody
        assert wait_for(lambda: "that is not for 127.0.0.1" in (who.get("/x"), run.log())[1], 5), run.log()
        assert who.get("/x").status == 200

    @pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
    def test_a_client_certificate(over, tls_redis, protocol):
        tls_redis.r.config_set("tls-protocols", protocol)
        tls_redis.show("server", clients="yes")
        grants(over(own="client"))

    def test_a_renewed_certificate_needs_no_reload(over, tls_redis):
        run = over()
        who = grants(run)
        tls_redis.show("renewed")
        assert wait_for(lambda: who.get("/strict/x").status == 200, 5)
        grants(run)
        assert "deciding without it" not in run.log()

    def test_a_wrong_certificate_after_a_reconnect(over, tls_redis):
        run = over()
        who = grants(run)
        tls_redis.show("wrong")
        assert wait_for(lambda: "that is not for 127.0.0.1" in (who.get("/x"), run.log())[1], 5), run.log()
        unavailable(run, "that is not for 127.0.0.1")
        assert who.get("/stats/x").status == 200, "on_store_failure token: the cookie's own word"
        assert who.get("/strict/x").status == 403, "on_store_failure deny"
        tls_redis.show("server")
        assert wait_for(lambda: who.get("/strict/x").status == 200, 8), run.log()

    def test_a_new_authority_comes_with_a_reload(over, tls_redis):
        tls_redis.pki.put("trusted.pem", "ca.pem")
        run = over(ca="trusted.pem")
        grants(run)
        tls_redis.pki.put("trusted.pem", "other-ca.pem")
        tls_redis.show("stranger")
        unavailable(run, "authority that is not in the file of privacy_store_tls_ca")
        run.reload()
        grants(run)

    def test_privacyctl_over_tls(over, tls_redis):
        tls_redis.show("server", clients="yes")
        who = grants(over(own="client"))
        call = ["consent", "get", who.consent()["id"], "--store", f"rediss://privacy@127.0.0.1:{tls_redis.tls_port}",
                "--password-file", tls_redis.password_file]
        files = ["--tls-ca", tls_redis.pki.path("ca.pem"), "--tls-cert", tls_redis.pki.path("client.pem"), "--tls-key",
                 tls_redis.pki.path("client.key")]
        assert "statistics" in privacyctl(*call, *files)
        for left, words in ((files[:2], "asks for a client certificate"), (files[2:], "that is not in the system's store")):
            done = privacyctl(*call, *left, check=False)
            assert done.returncode == 1 and words in done.stderr, done.stderr

    # ---- what does not

    REFUSED = [("wrong", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"),
               ("wrong", "localhost", "ca.pem", "shows a certificate that is not for localhost"),
               ("named", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"),
               ("common", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"),
               ("expired", "127.0.0.1", "ca.pem", "shows a certificate that has expired"),
               ("early", "127.0.0.1", "ca.pem", "is not valid yet"),
               ("stranger", "127.0.0.1", "ca.pem", "authority that is not in the file of privacy_store_tls_ca"),
               ("selfmade", "127.0.0.1", "ca.pem", "authority that is not in the file of privacy_store_tls_ca"),
               ("server", "127.0.0.1", None, "authority that is not in the system's store")]

    @pytest.mark.parametrize("shown,host,ca,words", REFUSED)
    def test_a_certificate_that_is_not_accepted(over, tls_redis, shown, host, ca, words):
        tls_redis.show(shown)
        unavailable(over(host=host, ca=ca), words)
        assert not tls_redis.keys("privacy:*")

    def test_no_client_certificate_where_one_is_wanted(over, tls_redis):
        tls_redis.show("server", clients="yes")
        unavailable(over(), "it asks for a client certificate; see privacy_store_tls_cert")

    def test_a_client_certificate_that_is_not_accepted(over, tls_redis):
        tls_redis.show("server", clients="yes")
        unavailable(over(own="foreign"), "refuses the certificate of privacy_store_tls_cert")

    def test_plain_redis_on_the_tls_port(serve, tls_redis):
        run = serve(site(f"redis://privacy@127.0.0.1:{tls_redis.tls_port}", tls_redis, ca=None, store_timeout="300ms"),
                    fresh=True)
        unavailable(run, "closed the connection at once")

    # ---- start-up

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "redis+unix:///run/redis.sock", "off"])
    def test_the_files_of_tls_are_for_tls(serve, pki, url, name):
        refused(serve, url, f"{FILES[name]} is for a privacy_store that begins with rediss://", **{name: pki.path("ca.pem")})

    @pytest.mark.parametrize("ca,cert,key,words", [
        ("none.pem", "client.pem", "client.key", "none.pem: No such file"),
        ("ca.key", "client.pem", "client.key", "ca.key: no certificate of an authority"),
        ("ca.pem", "client.key", "client.key", "client.key: no certificate (PEM)"),
        ("ca.pem", "client.pem", "client.csr", "client.csr: no private key (PEM)"),
        ("ca.pem", "client.pem", "server.key", "does not belong to the certificate"),
        ("ca.pem", "client.pem", "locked.key", "has a pass phrase"),
        ("ca.pem", "client.pem", "open.key", "may be read or written by everybody"),
        ("ca.pem", "client.pem", None, "privacy_store_tls_cert and privacy_store_tls_key need each other"),
        ("ca.pem", None, "client.key", "privacy_store_tls_cert and privacy_store_tls_key need each other")])
    def test_a_file_that_is_wrong(serve, pki, ca, cert, key, words):
        pki.put("open.key", "client.key")
        os.chmod(pki.path("open.key"), 0o644)
        os.chmod(pki.path("client.csr"), 0o600)
        files = {"store_tls_ca": ca, "store_tls_cert": cert, "store_tls_key": key}
        refused(serve, "rediss://127.0.0.1:6380", words, **{k: pki.path(v) for k, v in files.items() if v})

    @pytest.mark.parametrize("url", ["rediss+sentinel://127.0.0.1:1/master", "rediss+cluster://127.0.0.1:1"])
    def test_tls_is_for_a_single_redis(serve, url):
        refused(serve, url, "privacy_store: TLS with", "is not supported in this version")

    def test_checking_a_configuration_connects_to_nobody(serve, tls_redis):
        before = tls_redis.r.info("stats")["total_connections_received"]
        status, said = serve.check(site(f"rediss://privacy@127.0.0.1:{tls_redis.tls_port}", tls_redis, own="client"))
        assert status == 0, said
        assert tls_redis.r.info("stats")["total_connections_received"] == before
