"""A proxy that misbehaves between a server and its Redis. It tells the servers' two kinds of connection apart: a command
connection, and the link that is told what was invalidated (it subscribes)."""
import asyncio
import threading
from collections import Counter, deque

COMMANDS, LINK = "commands", "link"


class _Loop:
    """One thread for all proxies of the process."""
    lock = threading.Lock()
    loop = None

    @classmethod
    def get(cls):
        with cls.lock:
            if cls.loop is None:
                cls.loop = asyncio.new_event_loop()
                threading.Thread(target=cls.loop.run_forever, daemon=True).start()
            return cls.loop


class _Pair:
    """One connection of a server, and the one to Redis that belongs to it."""

    def __init__(self, writer):
        self.writer = writer
        self.kind = COMMANDS
        self.silent = False
        self.peer = writer.get_extra_info("peername")

    def heard(self, data):
        if self.kind == COMMANDS and any(word in data.lower() for word in (b"subscribe\r\n", b"client\r\n$2\r\nid\r\n")):
            self.kind = LINK


class FaultProxy:
    """`mode` says what happens to replies from now on, `link_mode` the same for the link alone (None: as `mode`):

    pass; delay (each reply `delay` seconds late, without holding up the others); stall (nothing comes back);
    half (half of a reply, then nothing); cut (the connection closes instead of a reply); truncate (half of a reply, then the
    connection closes); garble (bytes that are no RESP); huge (an array header that asks for gigabytes); desync (one extra
    reply, `extra`, before the real one, once); refuse (connections are closed at once); mute (connections are accepted and
    nothing is ever said on them); and text:-ERROR (every reply is that line).

    To requests: lost (the connection closes and Redis never sees them), torn (Redis sees half), late (Redis gets them
    `delay` seconds later, whether or not the server still waits).

    `inject(mode, kind)` is a single fault: it strikes the next reply, request or connection of that kind, and only the
    connection that it strikes.
    """

    REQUESTS = ("lost", "torn", "late")
    CONNECTS = ("refuse", "mute")

    def __init__(self, target):
        self.target = target
        self.mode = "pass"
        self.link_mode = None
        self.delay = 0.0
        self.extra = b"$-1\r\n"
        self.connections = 0
        self.replies = 0
        self.used = Counter()  # (kind, mode) of single faults that struck
        self.single = {COMMANDS: deque(), LINK: deque()}
        self.pairs = set()
        self.tasks = set()
        self.loop = _Loop.get()
        self.server = self._run(asyncio.start_server(self._client, "127.0.0.1", 0, backlog=256))
        self.port = self.server.sockets[0].getsockname()[1]

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    # ---- single faults
    def inject(self, mode, kind=COMMANDS, delay=0.2):
        """Returns the fault; `withdraw` it if it does not strike."""
        fault = (mode, delay)
        self.single[kind].append(fault)
        if mode in self.CONNECTS:
            self.cut_all(kind)
        return fault

    def withdraw(self, fault, kind=COMMANDS):
        """True: it had not struck, and will not."""
        try:
            self.single[kind].remove(fault)
            return True
        except ValueError:
            return False

    def _next(self, kind, modes):
        """A single fault that is due for what `modes` names, or None."""
        queue = self.single[kind]
        if not queue or not modes(queue[0][0]):
            return None
        try:
            fault = queue.popleft()
        except IndexError:
            return None
        self.used[kind, fault[0]] += 1
        return fault

    def _mode(self, pair):
        return self.link_mode if pair.kind == LINK and self.link_mode else self.mode

    # ---- connections
    async def _client(self, reader, writer):
        pair = _Pair(writer)
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            await self._serve(reader, writer, pair)
        except (ConnectionError, asyncio.CancelledError, OSError):
            pass
        finally:
            self.tasks.discard(task)
            self.pairs.discard(pair)
            writer.close()

    async def _serve(self, reader, writer, pair):
        self.connections += 1
        # which kind it will be is not known before it speaks
        fault = self._next(COMMANDS, "refuse".__eq__) or self._next(LINK, "refuse".__eq__)
        mode = fault[0] if fault else self.mode
        if mode == "refuse":
            return
        self.pairs.add(pair)
        first = b"" if mode == "mute" else await reader.read(65536)
        pair.heard(first)
        if mode == "mute" or self._next(pair.kind, "mute".__eq__):
            while await reader.read(65536):
                pass
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.gather(self._requests(reader, up_writer, pair, first), self._replies(up_reader, writer, pair))
        finally:
            up_writer.close()

    async def _requests(self, reader, writer, pair, first):
        while data := first or await reader.read(65536):
            first = b""
            pair.heard(data)
            mode, delay = self._next(pair.kind, self.REQUESTS.__contains__) or (self._mode(pair), self.delay)
            if mode == "lost":
                pair.writer.close()
                writer.close()
                return
            if mode == "torn":
                writer.write(data[:len(data) // 2])
                await writer.drain()
                pair.writer.close()
                writer.close()
                return
            if mode == "late":
                await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _replies(self, reader, writer, pair):
        held = set()
        while data := await reader.read(65536):
            self.replies += 1
            if pair.silent:
                continue
            fault = self._next(pair.kind, lambda m: m not in self.REQUESTS and m not in self.CONNECTS)
            mode = fault[0] if fault else self._mode(pair)
            if mode in ("stall", "mute", "refuse"):
                pair.silent = bool(fault)
                continue
            if mode == "delay":
                if fault:
                    await asyncio.sleep(fault[1])  # what comes behind it waits
                else:
                    task = asyncio.ensure_future(self._later(writer, data, self.delay))
                    held.add(task)
                    task.add_done_callback(held.discard)
                    continue
            elif mode == "half":
                data = data[:len(data) // 2]
                if fault:
                    pair.silent = True
                elif pair.kind == LINK and self.link_mode:
                    self.link_mode = "stall"
                else:
                    self.mode = "stall"
            elif mode == "cut":
                writer.close()
                return
            elif mode == "truncate":
                writer.write(data[:len(data) // 2])
                await writer.drain()
                writer.close()
                return
            elif mode == "garble":
                data = b"\x00\xff?" * 20 + b"\r\n"
            elif mode == "huge":
                data = b"*2147483647\r\n"
            elif mode == "desync":
                data = self.extra + data
                if not fault:
                    self.mode = "pass"
            elif mode.startswith("text:"):
                data = mode[5:].encode() + b"\r\n"
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _later(self, writer, data, delay):
        await asyncio.sleep(delay)
        writer.write(data)

    def links(self):
        """Client ports of the links that are open."""
        return [pair.peer[1] for pair in list(self.pairs) if pair.kind == LINK and pair.peer]

    def cut_all(self, kind=None):
        """Closes every open connection, or those of one kind."""
        def close():
            for pair in list(self.pairs):
                if kind is None or pair.kind == kind:
                    pair.writer.close()
        self.loop.call_soon_threadsafe(close)

    def close(self):
        async def stop():
            self.server.close()
            for task in list(self.tasks):
                task.cancel()
        self._run(stop())
