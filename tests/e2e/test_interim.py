"""Answers before the answer, answers that switch protocols, and other ways around the filters."""
import socket
import socketserver
import threading

import pytest

from harness.client import Visitor, tls_context
from harness.site import Loc, Site
from harness.upstream import Reply

FIELDS = ("Set-Cookie: _ga=EARLY\r\nSet-Cookie: session=1\r\nPrivacy-Subject: bob\r\n"
          "privacy-subject-age: under:13\r\nLink: </a.css>; rel=preload\r\n")
HINTS = f"HTTP/1.1 103 Early Hints\r\n{FIELDS}\r\n"
SWITCH = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{FIELDS}\r\n"
FINAL = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone"
# a body that looks like the head of an interim answer
DECOY = "HTTP/1.1 103 Early Hints\r\nSet-Cookie: _ga=1\r\n\r\n"
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")


class Scripted:
    """An upstream that says for each path what stands in `script`, byte for byte; behind a 101 it echoes."""

    def __init__(self):
        script = self.script = {}

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                path, length = self.rfile.readline().decode().split()[1], 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                text = script[path.rsplit("/", 1)[1]].encode()
                if path.endswith("continue"):
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.rfile.read(length)
                self.wfile.write(text)
                while b" 101 " in text and (data := self.request.recv(1000)):
                    self.wfile.write(data)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture(scope="module")
def scripted():
    up = Scripted()
    up.script.update({"hints": HINTS + FINAL, "twice": HINTS + HINTS + FINAL, "switch": SWITCH, "plain": FINAL,
                      "both": HINTS + SWITCH, "continue": HINTS + FINAL,
                      "long": HINTS.replace("/a.css", "/" + "a" * 7800 + ".css") + FINAL,
                      "refused": FINAL.replace("200 OK\r\n", "403 No\r\n" + FIELDS),
                      "decoy": FINAL.replace("4", str(len(DECOY))).replace("done", DECOY)})
    yield up
    up.server.shutdown()
    up.server.server_close()


NGINX = ("proxy_pass http://127.0.0.1:@scripted@; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
         "proxy_set_header Connection upgrade;")


def there(path, httpd, **directives):
    return Loc(path, nginx=NGINX, httpd=httpd.replace("@to@", "127.0.0.1:@scripted@" + path), **directives)


def site(**more):
    return Site(there("/http/", "ProxyPass http://@to@ upgrade=websocket"), there("/ws/", "ProxyPass ws://@to@"),
                there("/quiet/", "ProxyPass http://@to@ upgrade=websocket", mode="report"),
                there("/vendor/", "ProxyPass http://@to@ upgrade=websocket", vendor="analytics"),
                modules=("proxy_wstunnel",), **more)


def raw_site():
    return Site(there("/raw/", "ProxyPass ws://@to@"), httpd="ProxyWebsocketFallbackToProxyHttp Off",
                modules=("proxy_wstunnel",))


def head(conn):
    """One header block from the socket, as text."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = conn.sock.recv(1)
        assert more, f"closed after {data!r}"
        data += more
    return data.decode("latin-1")


def everything(conn):
    data = b""
    while more := conn.sock.recv(65536):
        data += more
    return data.decode("latin-1")


def is_filtered(text):
    return "_ga=" not in text and "privacy-subject" not in text.lower()


def ask(run, path, *lines):
    conn = run.connect()
    conn.send("GET", path, (f"Host: {run.host}", *lines))
    return conn


def is_refused(run, text):
    """nginx 1.22 takes early hints for the answer, and what follows for its body: 502 instead."""
    assert run.server != "nginx" or (text.startswith("HTTP/1.1 502") and is_filtered(text))
    return run.server == "nginx"


@pytest.mark.asan
@pytest.mark.parametrize("name", ["hints", "twice", "long"])
@pytest.mark.parametrize("where", ["http", "vendor"])
def test_early_hints_are_filtered(serve, scripted, where, name):
    run = serve(site(), scripted=scripted.port)
    who = Visitor(run)
    if where == "vendor":
        who.choose(statistics=True)
    with ask(run, f"/{where}/{name}", "Connection: close", *who.cookie_line()) as conn:
        text = everything(conn)
    if is_refused(run, text):
        return
    assert text.endswith("done") and "HTTP/1.1 103" in text and "privacy-subject" not in text.lower()
    assert "_ga=" not in text or where == "vendor"  # granted there


def test_early_hints_are_filtered_for_each_request_of_a_connection(serve, scripted):
    run = serve(site(), scripted=scripted.port)
    with run.connect() as conn:
        for path in ("/http/hints", "/http/plain", "/quiet/plain", "/http/hints"):
            conn.send("GET", path, (f"Host: {run.host}",))
            text = head(conn)
            if path.endswith("hints") and is_refused(run, text):
                break
            if path.endswith("hints"):
                assert text.startswith("HTTP/1.1 103") and "session=1" in text and "Link: </a.css>" in text
                assert is_filtered(text)
                text = head(conn)
            assert text.startswith("HTTP/1.1 200") and conn.sock.recv(4) == b"done"


@pytest.mark.asan
@pytest.mark.parametrize("path", ["/http/switch", "/ws/switch", "/http/both"])
def test_a_switch_of_protocols_is_filtered(serve, scripted, path):
    run = serve(site(), scripted=scripted.port)
    with ask(run, path, *UPGRADE) as conn:
        text = head(conn)
        if path.endswith("both") and is_refused(run, text):
            return
        if " 103 " in text:
            assert is_filtered(text)
            text = head(conn)
        assert text.startswith("HTTP/1.1 101") and "upgrade: websocket" in text.lower()
        assert is_filtered(text) and "session=1" in text
        assert run.cookie_name + "=" in text  # the age that the application told
        conn.sock.sendall(DECOY.encode())
        assert head(conn) == DECOY


def test_a_consenting_visitor_gets_the_cookies_of_a_switch(serve, scripted):
    run = serve(site(), scripted=scripted.port)
    who = Visitor(run)
    who.choose(statistics=True)
    with ask(run, "/vendor/switch", *UPGRADE, *who.cookie_line()) as conn:
        text = head(conn)
    assert text.startswith("HTTP/1.1 101") and "privacy-subject" not in text.lower()


def test_report_mode_keeps_the_cookies_of_a_switch(serve, scripted):
    run = serve(site(), scripted=scripted.port)
    with ask(run, "/quiet/switch", *UPGRADE) as conn:
        text = head(conn)
    assert text.startswith("HTTP/1.1 101") and "_ga=EARLY" in text and "privacy-subject" not in text.lower()


@pytest.mark.asan
@pytest.mark.parametrize("name,status", [("switch", 101), ("refused", 403), ("hints", 0)])
def test_a_tunnel_that_knows_no_http_is_filtered(serve, scripted, name, status):
    run = serve(raw_site(), scripted=scripted.port)
    with ask(run, f"/raw/{name}", *UPGRADE) as conn:
        text = head(conn)
        if name == "hints" and is_refused(run, text):
            return
        assert is_filtered(text) and (not status or text.startswith(f"HTTP/1.1 {status}"))
        if status == 101:
            conn.sock.sendall(b"ping")
            assert conn.sock.recv(4) == b"ping"


@pytest.mark.asan
def test_a_program_that_speaks_to_the_client_itself_is_filtered(serve):
    text = FIELDS.replace("\r\n", "\\r\\n")
    files = {"cgi/nph-x.cgi": f"#!/bin/sh\nprintf 'HTTP/1.1 200 OK\\r\\n{text}\\r\\ndone'\n"}
    run = serve(Site(Loc("/"), Loc("/cgi/", httpd="Options +ExecCGI\nSetHandler cgi-script"), files=files))
    with ask(run, "/cgi/nph-x.cgi", "Connection: close") as conn:
        text = everything(conn)
    if run.server == "nginx":  # runs no programs: a file like any other
        assert text.endswith(files["cgi/nph-x.cgi"]) and "set-cookie" not in text.split("\r\n\r\n")[0].lower()
        return
    assert text.startswith("HTTP/1.1 200") and text.endswith("done") and is_filtered(text) and "session=1" in text


@pytest.mark.asan
def test_a_body_that_looks_like_an_interim_answer_is_left_alone(serve, scripted):
    run = serve(site(), scripted=scripted.port)
    answer = run.get("/http/decoy")
    assert answer.status == 200 and answer.text == DECOY


def test_a_client_that_waits_for_100_gets_it(serve, scripted):
    run = serve(site(), scripted=scripted.port)
    name = "plain" if run.server == "nginx" else "continue"  # nginx says it itself, httpd asks its upstream
    with run.connect() as conn:
        conn.send("POST", f"/http/{name}", (f"Host: {run.host}", "Expect: 100-continue", "Content-Length: 3",
                                            "Connection: close"))
        assert head(conn).startswith("HTTP/1.1 100")
        conn.sock.sendall(b"abc")
        text = everything(conn)
        assert text.endswith("done") and "HTTP/1.1 200" in text and is_filtered(text)


@pytest.mark.parametrize("name", ["hints", "decoy", "plain"])
def test_early_hints_over_h2(serve, scripted, name):
    import h2.config
    import h2.connection
    import h2.events
    run = serve(site(tls=True), scripted=scripted.port)
    fields, body, done = [], b"", False
    with tls_context("h2").wrap_socket(socket.create_connection(("127.0.0.1", run.port), 10)) as tls:
        conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        conn.initiate_connection()
        conn.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", run.host),
                              (":path", f"/http/{name}")], end_stream=True)
        tls.sendall(conn.data_to_send())
        while not done:
            data = tls.recv(65536)
            assert data
            for event in conn.receive_data(data):
                if isinstance(event, (h2.events.InformationalResponseReceived, h2.events.ResponseReceived)):
                    fields += event.headers
                body += event.data if isinstance(event, h2.events.DataReceived) else b""
                done = done or isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset))
            tls.sendall(conn.data_to_send())
    if name == "hints" and run.server == "nginx":
        assert dict(fields)[":status"] == "502"
    if name != "hints":  # mod_http2 answers some of them with 404, with and without this module
        assert dict(fields)[":status"] == "200" and body.decode() == (DECOY if name == "decoy" else "done")
    assert is_filtered("\n".join(f"{k}: {v}" for k, v in fields))


# ---------------------------------------------------------------- what the client names in Connection

@pytest.mark.asan
@pytest.mark.parametrize("lines", [
    ("Connection: close, Privacy-Age, Privacy-Consent, Cookie",),
    ("Connection: PRIVACY-AGE", "Connection: privacy-consent;cookie close"),
    ("Connection: privacy-age,,privacy-consent,", "connection: Cookie", "Connection: close"),
])
def test_a_client_cannot_name_our_fields_hop_by_hop(serve, upstream, lines):
    run = serve(Site(Loc("/", proxy=True)))
    with run.connect() as conn:
        conn.send("GET", "/x", (f"Host: {run.host}", "Cookie: session=1", *lines))
        everything(conn)  # `close` was understood
    assert upstream.last.get("Privacy-Age") == "unknown"
    assert upstream.last.get("Privacy-Consent") and upstream.last.cookies() == ["session"]


def test_other_names_in_connection_still_count(serve, upstream):
    run = serve(Site(Loc("/", proxy=True)))
    run.request("GET", "/x", ["Connection: X-Hop, Privacy-Age", "X-Hop: 1"])
    assert run.server == "nginx" or not upstream.last.all("X-Hop")


# ---------------------------------------------------------------- behind a refusal

@pytest.mark.asan
def test_a_refusals_page_includes_nothing_gated(serve):
    page = '<p>sorry <!--#include virtual="/gated/secret.html" --></p>'
    run = serve(Site(Loc("/"), Loc("/gated/", require="statistics", nginx="error_page 403 /page.html;",
                                   httpd="ErrorDocument 403 /page.html"),
                     nginx="ssi on;", httpd="AddOutputFilter INCLUDES .html\n<Directory @docroot@>\n"
                                            "Options +Includes\n</Directory>",
                     files={"page.html": page, "gated/secret.html": "SECRET"}))
    answer = run.get("/gated/x.html")
    assert answer.status == 403 and "sorry" in answer.text and "SECRET" not in answer.text
    assert "no-store" in answer.get("Cache-Control", "")


@pytest.mark.asan
def test_a_refusals_page_that_inherits_the_gate_is_served_alone(serve):
    page = '<p>sorry <!--#include virtual="/gated/secret.html" --></p>'
    run = serve(Site(Loc("/gated/", require="statistics", nginx="error_page 403 /gated/page.html;",
                         httpd="ErrorDocument 403 /gated/page.html"),
                     nginx="ssi on;", httpd="AddOutputFilter INCLUDES .html\n<Directory @docroot@>\n"
                                            "Options +Includes\n</Directory>",
                     files={"gated/page.html": page, "gated/secret.html": "SECRET"}))
    answer = run.get("/gated/secret.html")
    assert answer.status == 403 and "sorry" in answer.text and "SECRET" not in answer.text


def test_what_a_refusals_page_redirects_to_is_gated(serve):
    run = serve(Site(Loc("/gated/", require="statistics", nginx="error_page 403 /gated/page;",
                         httpd="ErrorDocument 403 /gated/page"),
                     Loc("/gated/page", exact=True, nginx="rewrite ^ /gated/secret.html;",
                         httpd="RewriteEngine On\nRewriteRule ^ /gated/secret.html"),
                     files={"gated/page": "", "gated/secret.html": "SECRET"}))
    answer = run.get("/gated/x.html")
    assert answer.status == 403 and "SECRET" not in answer.text


# ---------------------------------------------------------------- addresses for a vendor

ADDRESSES = """Forwarded Forwarded-For X-Forwarded X-Client-IP X-Cluster-Client-IP X-Original-Forwarded-For
    X-Originating-IP X-Remote-IP X-Remote-Addr Client-IP True-Client-IP CF-Connecting-IP CF-Connecting-IPv6
    Fastly-Client-IP Fly-Client-IP X-Envoy-External-Address X-Azure-ClientIP X-Azure-SocketIP X-ProxyUser-Ip
    X_Forwarded_For X-Forwarded_For X_Real_IP Client_IP""".split()


@pytest.mark.asan
def test_a_vendor_learns_an_address_from_no_field(serve, upstream):
    vendor = Loc("/v/", proxy=True, vendor="analytics",
                 nginx="proxy_set_header X-Forwarded-For $http_x_forwarded_for;")
    run = serve(Site(vendor, Loc("/own/", proxy=True), nginx="underscores_in_headers on;"))
    sent = [f"{name}: 203.0.113.77" for name in [*ADDRESSES, "X-Forwarded-For", "X-Real-IP"]]
    who = Visitor(run)
    who.choose(statistics=True)
    who.get("/v/x", sent)
    assert not [l for l in upstream.last.lines if "203.0.113.77" in l]
    cut = {l.split(":")[0].replace("_", "-") for l in upstream.last.lines if "203.0.113.0" in l}
    assert cut == {"X-Real-IP", "X-Forwarded-For"}
    assert "203.0.113.0" in upstream.last.get("X-Forwarded-For")
    run.get("/own/x", *sent)
    for name in ADDRESSES:
        assert upstream.last.all(name) == ["203.0.113.77"], name


def test_an_error_page_behind_a_vendor_gets_the_addresses_back(serve, upstream):
    upstream.app = lambda got: Reply(404) if got.target.startswith("/v/") else Reply()
    run = serve(Site(Loc("/v/", proxy=True, vendor="analytics",
                         nginx="proxy_intercept_errors on;\nerror_page 404 /own/page;",
                         httpd="ProxyErrorOverride On\nErrorDocument 404 /own/page"),
                     Loc("/own/", proxy=True), nginx="underscores_in_headers on;"))
    who = Visitor(run)
    who.choose(statistics=True)
    who.get("/v/x", ["X-Azure-ClientIP: 203.0.113.77", "X_Forwarded_For: 203.0.113.78"])
    assert upstream.seen("/own/page")[-1].all("X-Azure-ClientIP") == ["203.0.113.77"]
    assert upstream.seen("/own/page")[-1].all("X_Forwarded_For") == ["203.0.113.78"]
