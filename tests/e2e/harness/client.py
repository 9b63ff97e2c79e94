"""Clients: raw HTTP/1.1 (every byte of the header is the test's), h2 over TLS, and a visitor with a cookie jar."""
import http.client
import json
import socket
import ssl
from dataclasses import dataclass

from .proc import SLOW

TIMEOUT = 10.0


@dataclass
class Response:
    status: int
    headers: list  # (name, value) in order
    body: bytes

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def set_cookies(self):
        """{name: (value, {attribute: value})} of the Set-Cookie fields; the last one of a name counts."""
        out = {}
        for field in self.all("Set-Cookie"):
            pair, *attributes = field.split(";")
            name, _, value = pair.strip().partition("=")
            out[name] = (value, {a.strip().split("=", 1)[0].lower(): (a.strip().split("=", 1) + [""])[1]
                                 for a in attributes})
        return out

    def vary(self):
        return {v.strip().lower() for field in self.all("Vary") for v in field.split(",") if v.strip()}


def tls_context(alpn):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


class Connection:
    """One client connection; several requests may follow each other on it."""

    def __init__(self, port, tls=False, timeout=TIMEOUT):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout * SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls_context("http/1.1").wrap_socket(self.sock, server_hostname="localhost")

    def send(self, method, target, lines=(), body=b""):
        head = [f"{method} {target} HTTP/1.1", *lines]
        if body or method in ("POST", "PUT", "PATCH"):
            if not any(l.lower().startswith(("content-length:", "transfer-encoding:")) for l in lines):
                head.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)

    def read(self, method="GET"):
        raw = http.client.HTTPResponse(self.sock, method=method)
        raw.begin()
        body = raw.read()
        response = Response(raw.status, list(raw.msg.items()), body)
        raw.close()
        return response

    def request(self, method, target, lines=(), body=b""):
        self.send(method, target, lines, body)
        return self.read(method)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def h2_request(port, method, path, fields=(), body=b"", authority="www.example.test"):
    """One request over h2 on TLS; `fields` may repeat a name, in any case the names go lower-case."""
    import h2.config
    import h2.connection
    import h2.events

    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT * SLOW)
    with tls_context("h2").wrap_socket(sock, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == "h2", "the server did not offer h2"
        conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        conn.initiate_connection()
        head = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        stream = conn.get_next_available_stream_id()
        conn.send_headers(stream, head + [(k.lower(), v) for k, v in fields], end_stream=not body)
        if body:
            conn.send_data(stream, body, end_stream=True)
        tls.sendall(conn.data_to_send())
        status, headers, out, done = 0, [], b"", False
        while not done:
            data = tls.recv(65536)
            assert data, "the server closed the h2 connection"
            for event in conn.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                    headers = [(k, v) for k, v in event.headers if not k.startswith(":")]
                elif isinstance(event, h2.events.DataReceived):
                    out += event.data
                    conn.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    done = True
            tls.sendall(conn.data_to_send())
        return Response(status, headers, out)


NAVIGATION = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: none", "Accept: text/html,application/xhtml+xml")


class Visitor:
    """A browser as far as cookies go: keeps what is set, drops what is expired, sends one Cookie line."""

    def __init__(self, site, headers=(), keeps_cookies=True):
        self.site = site
        self.headers = list(headers)
        self.keeps_cookies = keeps_cookies
        self.jar = {}

    def cookie_line(self):
        return ["Cookie: " + "; ".join(f"{k}={v}" for k, v in self.jar.items())] if self.jar else []

    def request(self, method, path, headers=(), body=b""):
        given = [h[7:].strip() for h in headers if h.lower().startswith("cookie:")]
        own = [line[8:] for line in self.cookie_line()]
        lines = [*self.headers, *(h for h in headers if not h.lower().startswith("cookie:"))]
        if own or given:  # a browser sends one line
            lines.append("Cookie: " + "; ".join(own + given))
        response = self.site.request(method, path, lines, body)
        if self.keeps_cookies:
            for name, (value, attributes) in response.set_cookies().items():
                if attributes.get("max-age") == "0" or "1970" in attributes.get("expires", ""):
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = value
        return response

    def get(self, path, headers=()):
        return self.request("GET", path, headers)

    def navigate(self, path, headers=()):
        return self.request("GET", path, [*NAVIGATION, *headers])

    def post_json(self, path, value, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, ["Content-Type: application/json", *headers], body)

    def post_form(self, path, fields, headers=("Sec-Fetch-Site: same-origin",)):
        from urllib.parse import urlencode
        body = fields if isinstance(fields, bytes) else urlencode(fields, doseq=True).encode()
        return self.request("POST", path, ["Content-Type: application/x-www-form-urlencoded", *headers], body)

    def choose(self, **purposes):
        """A choice by the JSON endpoint; `session_replay=True` means the purpose session-replay."""
        names = {k.replace("_", "-"): v for k, v in purposes.items()}
        response = self.post_json(self.site.home + "consent", {"purposes": names})
        assert response.status == 200, f"{response.status} {response.text}"
        return response

    def consent(self, headers=()):
        response = self.get(self.site.home + "consent", headers)
        assert response.status == 200, f"{response.status} {response.text}"
        return response.json()

    def allowed(self, headers=()):
        """Names of the allowed purposes, as the endpoint tells them."""
        return {k for k, v in self.consent(headers)["purposes"].items() if v["allowed"]}

    @property
    def token(self):
        return self.jar.get(self.site.cookie_name)

    @token.setter
    def token(self, value):
        self.jar[self.site.cookie_name] = value
