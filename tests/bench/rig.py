"""What the bench and the instruction guard run on: private servers, an upstream, Redis, visitors, and the requests they send."""
import json
import os
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from harness import policies  # noqa: E402
from harness.client import Connection  # noqa: E402
from harness.proc import BUILD, Process, free_port, remove, work_dir  # noqa: E402
from harness.redisd import Redis  # noqa: E402
from harness.servers import HTTPD, HTTPD_MODULES, NGINX, new_keys, user_line  # noqa: E402

HOST = "www.example.test"
# A browser's: what it lets the application keep is the first, the third and the last, and `_ga` by the visitor's grant.
COOKIES = ("session=8f3e2a9c4d", "_ga=GA1.2.1234567890.1596403881", "theme=dark", "@own@",
           "_fbp=fb.1.1596403881668.1116446470", "lang=en")
KEPT = "session=8f3e2a9c4d; _ga=GA1.2.1234567890.1596403881; theme=dark; lang=en"
CHOICE = {"preferences": True, "statistics": True, "marketing": False}
SET_COOKIES = ("session=8f3e2a9c4d; Path=/; HttpOnly", "_ga=GA1.2.1234567890.1596403881; Path=/; Max-Age=63072000",
               "_fbp=fb.1.1596403881668.1116446470; Path=/; Max-Age=7776000")

NGINX_CONF = """@top@
@user@
worker_processes 1; pid @dir@/nginx.pid; error_log @dir@/error.log warn;
daemon off; master_process @master@;
events { worker_connections 1024; }
http {
    types { text/html html; } default_type text/plain;
    access_log off; server_tokens off; keepalive_timeout 1h; keepalive_requests 100000000; sendfile on;
    client_body_temp_path @dir@/var/b; proxy_temp_path @dir@/var/p; fastcgi_temp_path @dir@/var/f;
    uwsgi_temp_path @dir@/var/u; scgi_temp_path @dir@/var/s;
    upstream application { server 127.0.0.1:@upstream@; keepalive 64; }
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
@http@
    server {
        listen 127.0.0.1:@port@; root @dir@/docroot;
@server@
        location / { @location@ }
        location /app/ { @location@ proxy_pass http://application; }
    }
}
"""

HTTPD_CONF = """ServerRoot @dir@
ServerName www.example.test
Listen 127.0.0.1:@port@
PidFile @dir@/httpd.pid
ErrorLog @dir@/error.log
LogLevel warn
Mutex file:@dir@/var default
@modules@
@user@
TypesConfig @dir@/mime.types
KeepAlive On
KeepAliveTimeout 3600
Timeout 60
MaxKeepAliveRequests 0
StartServers 1
ServerLimit 1
@threads@
<Directory "/">
    Require all granted
    AllowOverride None
    Options FollowSymLinks
</Directory>
@http@
<VirtualHost 127.0.0.1:@port@>
    ServerName www.example.test
    DocumentRoot @dir@/docroot
    ProxyPreserveHost On
@server@
    ProxyPass "/app/" "http://127.0.0.1:@upstream@/app/" keepalive=On
</VirtualHost>
"""
THREADS = """ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64"""
HTTPD_LOADED = ("authz_core", "mime", "dir", "proxy", "proxy_http", "headers")

UPSTREAM_CONF = """@user@
worker_processes 1; daemon off; pid @dir@/nginx.pid; error_log @dir@/error.log warn;
events { worker_connections 1024; }
http {
    access_log off; server_tokens off; keepalive_timeout 1h; keepalive_requests 100000000; default_type text/plain;
    client_body_temp_path @dir@/var/b; proxy_temp_path @dir@/var/p; fastcgi_temp_path @dir@/var/f;
    uwsgi_temp_path @dir@/var/u; scgi_temp_path @dir@/var/s;
    server {
        listen 127.0.0.1:@port@; root @dir@/docroot;
        location = /app/page {
@set_cookies@
            try_files /page.html =404;
        }
        location = /app/echo { return 200 "cookie=<$http_cookie> consent=<$http_privacy_consent>"; }
    }
}
"""


def fill(text, **values):
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


class Peer:
    """A configuration of one server. `leaves_out` says what of the gate's job it does not do."""

    def __init__(self, server, name, http="", in_server="", location="", modules=(), top="", leaves_out="", gate=False):
        self.server, self.name, self.gate, self.leaves_out = server, name, gate, leaves_out
        self.http, self.in_server, self.location, self.modules, self.top = http, in_server, location, modules, top


def bare(server):
    return Peer(server, "bare", leaves_out="everything")


def gate(server, store=True, zone="16m"):
    """As the shipped samples have it. Without a store the cookie alone is the state."""
    lines = {"policy": "@dir@/policy.json", "key_file": "@dir@/keys", "zone": f"privacy:{zone}", "limit": "off"}
    if store:
        lines |= {"store": "redis://privacy@127.0.0.1:@redis@", "store_password_file": "@redis_password@",
                  "store_timeout": "2s"}
    if server == "nginx":
        return Peer(server, "gate", "".join(f"privacy_{k} {v};\n" for k, v in lines.items()),
                    "privacy on; location /privacy/ { privacy_endpoint on; }", gate=True,
                    top=f"load_module {BUILD}/ngx_http_privacy_module.so;")
    names = {k: "".join(w.capitalize() for w in k.split("_")) for k in lines}
    return Peer(server, "gate", "".join(f"Privacy{names[k]} {v}\n" for k, v in lines.items()),
                'Privacy on\n<Location "/privacy/">\n    PrivacyEndpoint on\n</Location>', gate=True,
                modules=(f"privacy_module {BUILD}/mod_privacy.so",))


class Place:
    """Upstream, keys, policy and, when asked for, Redis: what the servers of one run share."""

    def __init__(self):
        self.dir = work_dir("bench")
        self.keys = new_keys()
        self.page = (b"<!doctype html><title>Page</title><p>" + b"All work and no play. " * 60)[:1023] + b"\n"
        self.policy = policies.shipped()
        self._redis = None
        self.upstream_port = free_port()
        write_page(self.dir, self.page)
        lines = "".join(f'            add_header Set-Cookie "{line}";\n' for line in SET_COOKIES)
        conf = self.dir / "upstream.conf"
        conf.write_text(fill(UPSTREAM_CONF, set_cookies=lines, dir=self.dir, port=self.upstream_port, user=user_line("nginx")))
        self.upstream = Process([NGINX, "-p", self.dir, "-c", conf, "-e", self.dir / "error.log"], self.dir / "upstream.log")
        self.upstream.wait_port(self.upstream_port)

    @property
    def redis(self):
        if self._redis is None:
            self._redis = Redis()
        return self._redis

    def pin(self, processor):
        """Upstream and Redis leave the other processor to the server."""
        for process in (self.upstream, self.redis.process):
            pin(process.pid, processor)

    def close(self):
        self.upstream.stop()
        if self._redis:
            self._redis.close()
        remove(self.dir)


def write_page(directory, page):
    (directory / "docroot").mkdir(exist_ok=True)
    (directory / "docroot").chmod(0o755)
    (directory / "docroot" / "page.html").write_bytes(page)


class Server:
    """A peer, started. single: as one process that answers one connection after the other, for what counts instructions. An event
    MPM's threads hand connections to each other as often as the machine has it."""

    def __init__(self, place, peer, single=False, wrap=(), env=None, wait=10.0):
        self.place, self.peer, self.port = place, peer, free_port()
        self.dir = work_dir(f"bench-{peer.server}")
        write_page(self.dir, place.page)
        (self.dir / "policy.json").write_text(json.dumps(place.policy))
        (self.dir / "keys").touch(mode=0o600)
        (self.dir / "keys").write_text(place.keys)
        (self.dir / "mime.types").write_text("text/html html\n")
        conf = self.dir / f"{peer.server}.conf"
        conf.write_text(self.text(single))
        if peer.server == "nginx":
            argv = [NGINX, "-p", self.dir, "-c", conf, "-e", self.dir / "error.log"]
        else:
            argv = [HTTPD, "-d", self.dir, "-f", conf, "-X" if single else "-DFOREGROUND"]
        self.process = Process([*wrap, *argv], self.dir / "output.log", env)
        self.process.wait_port(self.port, wait)

    def text(self, single):
        peer, place = self.peer, self.place
        mpm = "prefork" if single else "event"
        modules = "\n".join([f"LoadModule mpm_{mpm}_module {HTTPD_MODULES}/mod_mpm_{mpm}.so",
                             *(f"LoadModule {n}_module {HTTPD_MODULES}/mod_{n}.so" for n in HTTPD_LOADED),
                             *(f"LoadModule {line}" for line in peer.modules)])
        body = fill(NGINX_CONF if peer.server == "nginx" else HTTPD_CONF, top=peer.top, http=peer.http, server=peer.in_server,
                    location=peer.location, modules=modules, user="" if single else user_line(peer.server),
                    master="off" if single else "on", threads="" if single else THREADS, dir=self.dir, port=self.port, upstream=place.upstream_port,
                    httpd_modules=HTTPD_MODULES)
        if "@redis" in body:
            body = fill(body, redis=place.redis.port, redis_password=place.redis.password_file)
        return body

    def log(self):
        files = [self.dir / "error.log", self.process.log]
        return "".join(f.read_text(errors="replace") for f in files if f.exists())

    def stop(self):
        self.process.stop()
        remove(self.dir)


# ---- requests

def request_bytes(target, own="", gpc=False):
    """A browser's request. own: `__Host-privacy=...`, among the other cookies; empty: it has none. The cookies stand where a request's
    middle falls into ours, because the Lua of wrk tells long strings apart by a few bytes there: a hundred thousand that are alike it sorts for minutes."""
    cookies = "; ".join(c for c in COOKIES if c != "@own@" or own).replace("@own@", own)
    lines = [f"GET {target} HTTP/1.1", f"Host: {HOST}", f"Cookie: {cookies}", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
             "Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language: en-US,en;q=0.5", "Sec-Fetch-Mode: navigate",
             *(["Sec-GPC: 1"] if gpc else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Client:
    """One keep-alive connection that sends bytes and reads answers that have a Content-Length."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def ask(self, request):
        """(head, body) of the answer."""
        self.sock.sendall(request)
        data = self.rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].decode("latin-1")
        at = head.lower().find("\r\ncontent-length:")
        if at < 0:
            raise ValueError(f"an answer without Content-Length: {head}")
        need = end + 4 + int(head[at + 17:].split("\r\n", 1)[0])
        while len(data) < need:
            data += self._more()
        self.rest = data[need:]
        return head, data[end + 4:need]

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def own_cookie(lines):
    """`__Host-privacy=...` of an answer's Set-Cookie values, or None."""
    return next((line.split(";")[0] for line in lines if line.startswith("__Host-privacy=")), None)


def visitor(server, choice=None):
    """A new visitor's cookie after they chose at this server and saw a page, which expired what they had denied."""
    body = json.dumps({"purposes": CHOICE if choice is None else choice}).encode()
    with Connection(server.port, timeout=120) as conn:
        chosen = conn.request("POST", "/privacy/consent", [f"Host: {HOST}", "Content-Type: application/json"], body)
        own = own_cookie(chosen.all("Set-Cookie"))
        if own is None:
            raise AssertionError(f"no cookie of ours: {chosen.status} {chosen.text} {server.log()}")
        conn.sock.sendall(request_bytes("/page.html", own))
        return own_cookie(conn.read().all("Set-Cookie")) or own


def settled(server, own, turns=600):
    """Until answers need no read of the store any more, because the invalidation link is up."""
    with Client(server.port) as client:
        for _ in range(turns):
            before = hgetalls(server.place)
            client.ask(request_bytes("/page.html", own))
            client.ask(request_bytes("/page.html", own))
            if hgetalls(server.place) == before:
                return
            time.sleep(0.05)
    raise AssertionError(f"the visitor's record is read again and again\n{server.log()}")


def family(pid):
    """A process and its children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(int(child) for child in (path.read_text().split() if path.exists() else []))]


def pin(pid, processor):
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            os.sched_setaffinity(int(task.name), {processor})


def hgetalls(place):
    return place.redis.r.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)
