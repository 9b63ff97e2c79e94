"""What the demo plays on: a private Redis, nginx and httpd from the sample configurations of config/, and an upstream.

Standard library only. Everything listens on free loopback ports below one temporary directory and is ended by
process id.
"""
import http.client
import http.server
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = ROOT / "config"
BUILD = Path(os.environ.get("PRV_BUILD", ROOT / "build")).resolve()
PASSWORDS = {"privacy": "change-me-privacy", "privacy-ops": "change-me-ops"}
# what the application and its tags would set on everybody
COOKIES = ["session=s1; Path=/; HttpOnly", "_ga=GA1.1.7; Path=/; Max-Age=63072000", "_fbp=fb.1.9; Path=/",
           "mystery=42; Path=/"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Upstream:
    """The application: sets its cookies on every answer and remembers what it received."""

    def __init__(self):
        outer = self
        self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.received.append((self.path, list(self.headers.items())))
                body = (HERE / "site" / "page.html").read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                for cookie in COOKIES:
                    self.send_header("Set-Cookie", cookie)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def last(self, *names):
        """(name, value) of the last request's fields of these names."""
        wanted = [n.lower() for n in names]
        return [(k, v) for k, v in self.received[-1][1] if k.lower() in wanted]


class Answer:
    def __init__(self, raw, body):
        self.status, self.reason, self.headers, self.body = raw.status, raw.reason, raw.getheaders(), body

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def cookies(self):
        return [v.split("=", 1)[0] for v in self.all("Set-Cookie")]


def request(port, method, path, headers=(), body=None):
    """One request; `headers` are (name, value) pairs, sent as they are."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_accept_encoding=True, skip_host=True)
    connection.putheader("Host", f"localhost:{port}")
    for name, value in headers:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    raw = connection.getresponse()
    answer = Answer(raw, raw.read())
    connection.close()
    return answer


class Stage:
    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="privacy-gate-demo-"))
        self.dir.chmod(0o755)
        self.processes = {}
        self.upstream = Upstream()
        self.ports = {name: free_port() for name in ("redis", "nginx", "httpd")}

    # ---- starting and ending

    def launch(self, name, argv):
        with open(self.dir / f"{name}.out", "ab") as out:
            child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     start_new_session=True)
        self.processes[name] = child
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), 0.5).close()
                return
            except OSError:
                if child.poll() is not None or time.monotonic() > deadline:
                    logs = "".join(p.read_text(errors="replace") for p in self.dir.glob(f"{name}*.*") if p.suffix in
                                   (".out", ".log"))
                    raise SystemExit(f"{name} did not start:\n{logs}")
                time.sleep(0.05)

    def end(self, name):
        child = self.processes.pop(name)
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def close(self):
        for name in list(self.processes):
            self.end(name)
        self.upstream.server.shutdown()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- files: the samples of config/, with the demo's own paths and ports

    def sample(self, name, replacements):
        text = (CONFIG / name).read_text()
        for old, new in replacements:
            if old not in text:
                raise SystemExit(f"config/{name} no longer has {old!r}; the demo cannot adapt it")
            text = text.replace(old, str(new))
        path = self.dir / Path(name).name
        path.write_text(text)
        return path

    def prepare(self):
        (self.dir / "www").mkdir()
        for part in ("cache", "redis"):
            (self.dir / part).mkdir(mode=0o777)
            (self.dir / part).chmod(0o777)
        shutil.copy(CONFIG / "policy.json", self.dir / "policy.json")
        subprocess.run([str(BUILD / "privacyctl"), "keys", "new", str(self.dir / "keys")], check=True,
                       stdout=subprocess.DEVNULL)
        for user, password in PASSWORDS.items():
            path = self.dir / f"password-{user}"
            path.touch(mode=0o600)
            path.write_text(password + "\n")
        installed = [("/etc/privacy-gate/policy.json", self.dir / "policy.json"),
                     ("/etc/privacy-gate/keys", self.dir / "keys"),
                     ("/etc/privacy-gate/redis-password", self.dir / "password-privacy"),
                     ("127.0.0.1:6379", f"127.0.0.1:{self.ports['redis']}")]
        for server in ("nginx", "httpd"):
            self.sample(f"snippets/gate.{server}.conf", installed)
            self.sample(f"snippets/endpoints.{server}.conf", [])
        self.sample("redis.acl", [])

    def own_user(self, *lines):
        """Who is not root cannot change to the servers' users, and need not."""
        return [] if os.getuid() == 0 else [(line, "# " + line) for line in lines]

    def start_redis(self):
        config = self.sample("redis.conf", [("port 6379", f"port {self.ports['redis']}"),
                                            ("dir /var/lib/redis", f"dir {self.dir}/redis"),
                                            ("/usr/share/privacy-gate/redis.acl", self.dir / "redis.acl")])
        self.launch("redis", ["redis-server", config])

    def start_nginx(self):
        temporary = "".join(f"    {part}_temp_path {self.dir}/cache/{part};\n"
                            for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.sample("nginx.conf", [
            ("modules/ngx_http_privacy_module.so", BUILD / "ngx_http_privacy_module.so"),
            *self.own_user("user www-data;"),
            ("/run/nginx.pid", self.dir / "nginx.pid"), ("/var/log/nginx", self.dir),
            ("/var/cache/nginx", f"{self.dir}/cache"), ("/var/www/html", self.dir / "www"),
            ("/usr/share/privacy-gate/snippets", self.dir), ("worker_processes auto", "worker_processes 2"),
            ("http {\n", "http {\n" + temporary),
            ("listen 80;", f"listen 127.0.0.1:{self.ports['nginx']};"),
            ("127.0.0.1:8000", f"127.0.0.1:{self.upstream.port}")])
        self.launch("nginx", ["/usr/sbin/nginx", "-p", self.dir, "-c", config, "-e", self.dir / "nginx-error.log",
                              "-g", "daemon off;"])

    def start_httpd(self):
        (self.dir / "mime.types").write_text("text/html html\n")
        config = self.sample("httpd.conf", [
            ("/usr/lib/apache2/modules/mod_privacy.so", BUILD / "mod_privacy.so"),
            *self.own_user("User www-data", "Group www-data"),
            ("ServerRoot /etc/apache2", f"ServerRoot {self.dir}"), ("/run/apache2/apache2.pid", self.dir / "httpd.pid"),
            ("/var/log/apache2/access.log", self.dir / "httpd-access.log"),
            ("/var/log/apache2/error.log", self.dir / "httpd-error.log"),
            ("file:/run/lock", f"file:{self.dir}/cache"), ("/var/cache/apache2", f"{self.dir}/cache"),
            ("/etc/mime.types", self.dir / "mime.types"), ("/usr/share/privacy-gate/snippets", self.dir),
            ("/var/www/html", self.dir / "www"), ("Listen 80", f"Listen 127.0.0.1:{self.ports['httpd']}"),
            ("*:80", f"127.0.0.1:{self.ports['httpd']}"), ("127.0.0.1:8000", f"127.0.0.1:{self.upstream.port}")])
        self.launch("httpd", ["/usr/sbin/apache2", "-d", self.dir, "-f", config, "-DFOREGROUND"])

    def redis_cli(self, *args):
        """redis-cli as the operator's own user types it."""
        done = subprocess.run(["redis-cli", "-p", str(self.ports["redis"]), "--user", "privacy-ops", *args],
                              capture_output=True, text=True,
                              env={**os.environ, "REDISCLI_AUTH": PASSWORDS["privacy-ops"]})
        return done.stdout.strip() or done.stderr.strip()
