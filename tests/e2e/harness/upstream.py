"""An upstream that records exactly the header lines it received and answers as the test wants."""
import socketserver
import threading
from dataclasses import dataclass, field


@dataclass
class Received:
    method: str
    target: str
    lines: list  # raw header lines, in order
    body: bytes = b""

    def all(self, name):
        """Values of every field of this name, in order; names compared without case."""
        found = []
        for line in self.lines:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                found.append(value.strip())
        return found

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None

    def cookies(self):
        """Names of the cookies that arrived, over all lines."""
        return [pair.split("=", 1)[0].strip() for value in self.all("Cookie")
                for pair in value.split(";") if pair.strip()]


@dataclass
class Reply:
    status: int = 200
    headers: list = field(default_factory=list)
    body: bytes = b"<!doctype html><title>up</title><p>upstream</p>"
    type: str = "text/html"


class Upstream:
    def __init__(self):
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer._serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.lock = threading.Lock()
        self.reset()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self):
        with self.lock:
            self.requests = []
        self.cookies = []   # Set-Cookie values of every answer
        self.headers = []   # more (name, value) fields of every answer
        self.app = None     # callable Received -> Reply, or None for the plain answer

    @property
    def last(self):
        with self.lock:
            assert self.requests, "the upstream received nothing"
            return self.requests[-1]

    def seen(self, target):
        with self.lock:
            return [r for r in self.requests if r.target.split("?")[0] == target]

    def _serve(self, rfile, wfile):
        try:
            first = rfile.readline().decode("latin-1").split()
            if len(first) < 2:
                return
            lines = []
            while True:
                line = rfile.readline().decode("latin-1").rstrip("\r\n")
                if not line:
                    break
                lines.append(line)
            got = Received(first[0], first[1], lines)
            if "chunked" in (got.get("Transfer-Encoding") or ""):
                while (size := int(rfile.readline().split(b";")[0] or b"0", 16)) > 0:
                    got.body += rfile.read(size)
                    rfile.readline()
            elif got.get("Content-Length"):
                got.body = rfile.read(int(got.get("Content-Length")))
            with self.lock:
                self.requests.append(got)
            reply = self.app(got) if self.app else Reply()
            head = [f"HTTP/1.1 {reply.status} Status"]
            fields = [("Content-Type", reply.type), ("Content-Length", str(len(reply.body)))]
            fields += reply.headers + self.headers + [("Set-Cookie", c) for c in self.cookies]
            fields.append(("Connection", "close"))
            head += [f"{name}: {value}" for name, value in fields]
            body = b"" if got.method == "HEAD" else reply.body
            wfile.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
        except (ConnectionError, ValueError):
            return  # the server under test went away, or sent what is no request

    def close(self):
        self.server.shutdown()
        self.server.server_close()
