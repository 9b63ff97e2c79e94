"""Processes of our own on free loopback ports, ended by process id and never by name."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("PRV_BUILD", ROOT / "build")).resolve()
ASAN = os.environ.get("PRV_ASAN", "")  # path of libasan.so: servers run with it preloaded
SLOW = 4 if ASAN else 1  # sanitised servers get more time before a test gives up on them


def free_port():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def work_dir(name):
    """A directory that the servers' unprivileged children can read and, below `var`, write."""
    path = Path(tempfile.mkdtemp(prefix=f"privacy-{name}-"))
    path.chmod(0o755)
    (path / "var").mkdir(mode=0o777)
    (path / "var").chmod(0o777)
    return path


class DidNotStart(Exception):
    pass


class Process:
    """A child in a process group of its own."""

    def __init__(self, argv, log, env=None):
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, env={**os.environ, **(env or {})})
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def wait_port(self, port, timeout=10.0):
        deadline = time.monotonic() + timeout * SLOW
        while time.monotonic() < deadline:
            if not self.alive():
                raise DidNotStart(self.text())
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise DidNotStart(f"port {port} did not open in {timeout} s\n{self.text()}")

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, number):
        os.kill(self.pid, number)

    def stop(self, how=signal.SIGTERM, timeout=10.0):
        if self.alive():
            self.send(signal.SIGCONT)
            self.send(how)
            try:
                self.popen.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)  # children that outlived it; the group is ours alone
        except ProcessLookupError:
            pass
        self.popen.wait()

    def kill(self):
        self.stop(signal.SIGKILL)


def remove(path):
    shutil.rmtree(path, ignore_errors=True)


def wait_for(condition, timeout=5.0, step=0.02):
    """The first true value of condition(), or the last one when the time is up."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(step)
