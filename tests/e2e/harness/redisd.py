"""A private redis-server with the users of config/redis.acl, and a look at what it is told."""
import os
import socket
import subprocess
import time

import redis

from .proc import ROOT, Process, free_port, remove, wait_for, work_dir

PASSWORD = "change-me-privacy"
SERVER = os.environ.get("PRV_REDIS_SERVER", "redis-server")  # or valkey-server
EDITS = {"HSET", "HDEL", "DEL", "SET", "RPUSH", "XADD", "EXPIRE", "PEXPIRE"}
HEARD = 0.03


def settle(command):
    """After an edit, nodes hear of it within a millisecond; a busy machine gets 30. How long it takes is measured elsewhere
    (tests/faults), what it does is what most tests are about."""
    if str(command).split()[0].upper() in EDITS:
        time.sleep(HEARD)


class Editor(redis.Redis):
    """The tests' own client."""

    def execute_command(self, *args, **options):
        answer = super().execute_command(*args, **options)
        settle(args[0])
        return answer


class Redis:
    """`admin` may everything and is the tests' own; the servers come in as `privacy`."""

    def __init__(self, *options, port=None):
        self.dir = work_dir("redis")
        self.acl = self.dir / "redis.acl"
        self.acl.write_text((ROOT / "config" / "redis.acl").read_text() + "user admin on nopass ~* &* +@all\n")
        self.password_file = self.dir / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        self.socket = self.dir / "var" / "redis.sock"
        self.options = options
        self.port = port or free_port()
        self.start()

    def start(self):
        self.process = Process(
            [SERVER, "--port", self.port, "--bind", "127.0.0.1", "--dir", self.dir / "var", "--save", "",
             "--appendonly", "no", "--unixsocket", self.socket, "--unixsocketperm", "777",
             "--aclfile", self.acl, "--enable-debug-command", "yes", "--loglevel", "warning", *self.options],
            self.dir / "redis.log")
        self.process.wait_port(self.port)
        self.r = Editor("127.0.0.1", self.port, username="admin", password="", decode_responses=True)
        assert wait_for(self._answers, 5), self.process.text()

    def _answers(self):
        try:
            return self.r.ping()
        except redis.exceptions.RedisError:
            return False

    def cli(self, *args, user="privacy-ops", password="change-me-ops"):
        """redis-cli as an operator types it; its output, stripped."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), "--user", user, *map(str, args)],
                              capture_output=True, text=True, check=True,
                              env={**os.environ, "REDISCLI_AUTH": password})
        assert not done.stdout.startswith(("ERR", "NOPERM", "NOAUTH")), done.stdout
        settle(args[0])
        return done.stdout.strip()

    def keys(self, pattern="*"):
        return sorted(self.r.scan_iter(pattern))

    def record(self, visitor_id):
        return self.r.hgetall(f"privacy:consent:{{{visitor_id}}}")

    def refused(self):
        """What a user was not permitted since the last ACL LOG RESET."""
        entries = [dict(zip(e[::2], e[1::2])) for e in self.r.execute_command("ACL", "LOG")]
        return sorted({f"{e['username']}: {e['reason']} {e['object'].lower()}" for e in entries})

    def links(self):
        """Client ports of the invalidation links."""
        return {int(c["addr"].rsplit(":", 1)[1]) for c in self.r.client_list(_type="pubsub")}

    def stop(self):
        self.process.kill()

    def close(self):
        self.process.stop()
        remove(self.dir)


class Monitor:
    """Everything that Redis is told while the block runs: `lines`, one a command."""

    def __init__(self, server):
        self.sock = socket.create_connection(("127.0.0.1", server.port))
        self.sock.sendall(b"AUTH admin x\r\nMONITOR\r\n")
        self.data = b""
        self.sock.settimeout(0.1)
        assert wait_for(lambda: self._read().count(b"+OK\r\n") >= 2, 5)

    def _read(self):
        try:
            self.data += self.sock.recv(1 << 20)
        except socket.timeout:
            pass
        return self.data

    def lines(self, settle=0.3):
        end = time.monotonic() + settle
        while time.monotonic() < end:
            self._read()
        return self.data.decode("utf-8", "replace").split("\r\n")[2:]

    def close(self):
        self.sock.close()
