"""Starting, reloading and stopping the two servers on a rendered site."""
import atexit
import os
import re
import secrets
import signal
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from . import proc, sanitizer
from .client import Connection, Response, h2_request
from .proc import ASAN, BUILD, ROOT, DidNotStart, Process, free_port, remove, wait_for, work_dir
from .site import THREADS_PER_CHILD

NGINX = os.environ.get("PRV_NGINX", "/usr/sbin/nginx")
HTTPD = os.environ.get("PRV_HTTPD", "/usr/sbin/apache2")
HTTPD_MODULES = os.environ.get("PRV_HTTPD_MODULES", "/usr/lib/apache2/modules")
HOST = "www.example.test"

# Lines that no test may leave in an error log unless it says so.
FATAL = re.compile(r"\[alert\]|\[emerg\]|exited on signal|Segmentation|Sanitizer|runtime error:|exit signal|open socket")


def b64(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def new_keys():
    """A key file's text: one key a use."""
    return "".join(f"{use} k1 {b64(secrets.token_bytes(32))}\n" for use in ("token", "subject", "link", "history"))


def user_line(server):
    """The servers' children give up root; who is not root stays what they are."""
    if os.getuid() != 0:
        return ""
    return "user nobody nogroup;" if server == "nginx" else "User nobody\nGroup nogroup"


def certificate():
    """A self-made certificate and key in one file, made once a session."""
    if not hasattr(certificate, "path"):
        path = work_dir("cert") / "cert.pem"
        atexit.register(remove, path.parent)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-keyout", str(path), "-out",
                        str(path) + ".crt"], check=True, capture_output=True)
        path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
        certificate.path = path
    return certificate.path


class Running:
    """A started server. `request` opens a connection of its own."""

    def __init__(self, server, site, fill, keys_text):
        self.server, self.site, self.home, self.cookie_name = server, site, site.home, site.cookie_name
        self.fill = dict(fill)
        self.keys_text = keys_text
        self.process = None
        self.seen = 0
        self.dir = work_dir(server)
        self.docroot = self.dir / "docroot"
        for attempt in range(5):
            self.port = free_port()
            self.write()
            try:
                self.start()
                return
            except DidNotStart as why:
                if attempt == 4 or not re.search("in use|could not bind|bind\\(\\)", f"{why}{self.log()}"):
                    remove(self.dir)
                    raise DidNotStart(f"{server}: {why}") from None

    # ---- files
    def text(self, template):
        values = {"dir": self.dir, "docroot": self.docroot, "port": self.port, "build": BUILD, "root": ROOT,
                  "httpd_modules": HTTPD_MODULES, "user": user_line(self.server), **self.fill}
        if self.site.tls:
            values["cert"] = certificate()
        for name, value in values.items():
            template = template.replace(f"@{name}@", str(value))
        return template

    def write(self, site=None):
        """Writes configuration, policy, keys and files; a test may call it with another site and then reload."""
        self.site = site or self.site
        self.config = self.dir / f"{self.server}.conf"
        self.config.write_text(self.text(self.site.render(self.server)))
        (self.dir / "policy.json").write_text(self.site.policy_text())
        self.write_keys(self.site.keys or self.keys_text)
        (self.dir / "mime.types").write_text("text/html html shtml\ntext/css css\napplication/json json\n")
        for name, text in self.site.files.items():
            path = self.docroot / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text(text))
            if name.endswith(".cgi"):
                path.chmod(0o755)
        for path in self.docroot.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)

    def write_keys(self, text):
        path = self.dir / "keys"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)

    # ---- life
    def argv(self, *more):
        if self.server == "nginx":
            return [NGINX, "-p", self.dir, "-c", self.config, "-e", self.dir / "error.log", *more]
        return [HTTPD, "-d", self.dir, "-f", self.config, *more]

    def environment(self):
        return sanitizer.environment(self.dir)

    def start(self):
        more = ["-g", "daemon off;"] if self.server == "nginx" else ["-DFOREGROUND"]
        self.process = Process(self.argv(*more), self.dir / "output.log", self.environment())
        self.process.wait_port(self.port)
        wait_for(lambda: len(self.children()) >= self.site.workers, 5)

    def check_config(self):
        """`nginx -t` or `httpd -t` on what stands in the directory: (exit status, what it said)."""
        done = subprocess.run([str(a) for a in self.argv("-t")], capture_output=True, text=True,
                              env={**os.environ, **self.environment()})
        return done.returncode, done.stdout + done.stderr

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(path.read_text().split()) if path.exists() else set()

    def workers(self):
        """Processes that answer requests."""
        return [int(pid) for pid in self.children() if self.server == "httpd" or self._is_worker(pid)]

    @staticmethod
    def _is_worker(pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return b"worker process" in line and b"shutting down" not in line

    def holder(self, ports):
        """The process that has one of these client ports open: who holds the link; None: no process of this server."""
        inodes = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            part = line.split()
            if int(part[1].split(":")[1], 16) in ports:
                inodes.add(f"socket:[{part[9]}]")
        for pid in map(int, self.children()):
            try:
                if any(os.readlink(fd) in inodes for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
            except OSError:
                continue
        return None

    def _retired(self, pid):
        """Gone, or no longer taking connections."""
        try:
            return b"shutting down" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return True

    def _started(self, pid):
        """All of a child's threads run."""
        try:
            return len(list(Path(f"/proc/{pid}/task").iterdir())) > THREADS_PER_CHILD
        except OSError:
            return False

    def reload(self, wait=True):
        """nginx -s reload, apachectl graceful; returns when the old workers take no more connections."""
        before = self.children()
        self._settle()
        self.process.send(signal.SIGHUP if self.server == "nginx" else signal.SIGUSR1)
        if wait:
            fresh = wait_for(lambda: len(self.children() - before) >= self.site.workers, 10)
            assert fresh, f"no new workers after a reload\n{self.log()}"
            wait_for(lambda: all(self._retired(pid) for pid in before), 10)
            if self.server == "httpd" and self.site.mpm != "prefork":
                wait_for(lambda: sum(map(self._started, self.children() - before)) >= self.site.workers, 10)

    def _settle(self):
        """mpm_event's close_worker_sockets() may read a socket that its worker frees at that moment, with or without this
        module: a worker that has just answered gets the time to be done with its connection."""
        if self.server == "httpd" and self.process and self.process.alive():
            time.sleep(0.1)

    def stop(self):
        self._settle()
        if self.process:
            self.process.stop(signal.SIGTERM if self.server == "httpd" or not ASAN else signal.SIGQUIT)

    def close(self):
        self.stop()
        remove(self.dir)

    # ---- logs
    def log(self):
        path = self.dir / "error.log"
        own = path.read_text(errors="replace") if path.exists() else ""
        return own + (self.process.text() if self.process else "")

    def access(self):
        """Lines of the access log as {field: value}; for a site with log=True."""
        path = self.dir / "var" / "access.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return [dict(re.findall(r"(\w+)=<([^>]*)>", line)) for line in text.splitlines()]

    def logged(self, target, count=1):
        """The last `count` access log lines of this target, once they are written."""
        rows = wait_for(lambda: [r for r in self.access() if r["target"] == target][-count:], 3)
        assert rows, f"no access log line for {target}"
        return {k: ("" if v == "-" else v) for k, v in rows[-1].items()}

    def new_log(self):
        text = self.log()
        fresh, self.seen = text[self.seen:], len(text)
        return fresh

    def complaints(self):
        """Fatal lines since the last call, sanitizer reports included."""
        lines = [l for l in self.new_log().splitlines() if FATAL.search(l)]
        return lines + (sanitizer.complaints(self.dir, self.server, self.process.pid) if ASAN else [])

    # ---- requests
    @property
    def host(self):
        return f"{HOST}:{self.port}"

    @property
    def origin(self):
        return f"{'https' if self.site.tls else 'http'}://{self.host}"

    def connect(self, **more):
        return Connection(self.port, self.site.tls, **more)

    def request(self, method, path, lines=(), body=b"", host=None):
        lines = list(lines)
        if not any(l.lower().startswith("host:") for l in lines):
            lines.insert(0, f"Host: {host or self.host}")
        with self.connect() as conn:
            return conn.request(method, path, [*lines, "Connection: close"], body)

    def get(self, path, *lines, host=None):
        return self.request("GET", path, lines, host=host)

    def h2(self, method, path, fields=(), body=b"") -> Response:
        return h2_request(self.port, method, path, fields, body, self.host)


def try_config(server, site, fill, keys_text, change=None):
    """Renders without starting; returns (exit status, output) of the server's own check."""
    run = Running.__new__(Running)
    run.server, run.site, run.home, run.cookie_name = server, site, site.home, site.cookie_name
    run.fill, run.keys_text, run.process, run.seen = dict(fill), keys_text, None, 0
    run.dir, run.port = work_dir(server), free_port()
    run.docroot = run.dir / "docroot"
    try:
        run.write()
        if change:
            change(run)
        return run.check_config()
    finally:
        remove(run.dir)


__all__ = ["Running", "try_config", "new_keys", "proc", "b64", "HOST"]
