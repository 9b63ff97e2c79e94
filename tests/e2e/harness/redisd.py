"""A private redis-server with the users of config/redis.acl, and a proxy that misbehaves on the way to it."""
import asyncio
import os
import socket
import subprocess
import threading
import time

import redis

from .proc import ROOT, Process, free_port, remove, wait_for, work_dir

PASSWORD = "change-me-privacy"


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
            ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.dir / "var", "--save", "",
             "--appendonly", "no", "--unixsocket", self.socket, "--unixsocketperm", "777",
             "--aclfile", self.acl, "--enable-debug-command", "yes", "--loglevel", "warning", *self.options],
            self.dir / "redis.log")
        self.process.wait_port(self.port)
        self.r = redis.Redis("127.0.0.1", self.port, username="admin", password="", decode_responses=True)
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
        return done.stdout.strip()

    def keys(self, pattern="*"):
        return sorted(self.r.scan_iter(pattern))

    def record(self, visitor_id):
        return self.r.hgetall(f"privacy:consent:{{{visitor_id}}}")

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


class FaultProxy:
    """Between server and Redis. `mode` says what happens to replies from now on:

    pass; delay (each reply `delay` seconds late, without holding up the others); stall (nothing comes back);
    half (half of a reply, then nothing); cut (the connection closes instead of a reply); garble (bytes that are no
    RESP); huge (an array header that asks for gigabytes); desync (one extra reply, `extra`, before the real one, once);
    refuse (connections are closed at once); and text:-ERROR (every reply is that line).
    """

    def __init__(self, target):
        self.target = target
        self.mode = "pass"
        self.delay = 0.0
        self.extra = b"$-1\r\n"
        self.connections = 0
        self.replies = 0
        self.open = set()
        self.ready = threading.Event()
        threading.Thread(target=self._thread, daemon=True).start()
        assert self.ready.wait(5)

    def _thread(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._client, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()

    async def _client(self, reader, writer):
        self.connections += 1
        if self.mode == "refuse":
            writer.close()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self.open.add(writer)
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._replies(up_reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)
            for w in (writer, up_writer):
                w.close()

    async def _pump(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _replies(self, reader, writer):
        held = set()
        while data := await reader.read(65536):
            self.replies += 1
            mode = self.mode
            if mode == "stall":
                continue
            if mode == "delay":
                task = asyncio.ensure_future(self._later(writer, data, self.delay))
                held.add(task)
                task.add_done_callback(held.discard)
                continue
            if mode == "half":
                data, self.mode = data[:len(data) // 2], "stall"
            elif mode == "cut":
                writer.close()
                return
            elif mode == "garble":
                data = b"\x00\xff?" * 20 + b"\r\n"
            elif mode == "huge":
                data = b"*2147483647\r\n"
            elif mode == "desync":
                data, self.mode = self.extra + data, "pass"
            elif mode.startswith("text:"):
                data = mode[5:].encode() + b"\r\n"
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _later(self, writer, data, delay):
        await asyncio.sleep(delay)
        writer.write(data)

    def cut_all(self):
        """Closes every open connection."""
        def close():
            for writer in list(self.open):
                writer.close()
        self.loop.call_soon_threadsafe(close)

    def close(self):
        def stop():
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.server.close()
            self.loop.call_later(0.05, self.loop.stop)
        self.loop.call_soon_threadsafe(stop)
