"""A private Redis that speaks TLS, with the certificates of tests/pki.sh; and whether the build under test offers TLS."""
import functools
import shutil
import subprocess

from .ctl import privacyctl
from .proc import ROOT, free_port, remove, work_dir
from .redisd import Redis


@functools.cache
def offered():
    """rediss:// is refused in words where hiredis is older than 1.0."""
    done = privacyctl("consent", "get", "a" * 26, "--store", "rediss://127.0.0.1:1", check=False)
    return "TLS needs hiredis 1.0 or later" not in done.stderr


@functools.cache
def _made():
    """Made once a session; each server has a copy that it may spoil."""
    directory = work_dir("pki")
    subprocess.run(["bash", ROOT / "tests" / "pki.sh", directory], check=True)
    return directory


def forget():
    if _made.cache_info().currsize:
        remove(_made())


class Pki:
    """`path("server.pem")`, `path("server.key")`: see tests/pki.sh for the names."""

    def __init__(self):
        self.dir = work_dir("pki")
        shutil.copytree(_made(), self.dir, dirs_exist_ok=True)

    def path(self, name):
        return self.dir / name

    def put(self, name, source):
        """Another file takes the place of `name`, as a renewal would."""
        shutil.copy(self.dir / source, self.dir / name)


class TlsRedis(Redis):
    """The tests come in by its plain port, the servers by `tls_port`."""

    def __init__(self, *options, shown="server", clients="no"):
        self.pki = Pki()
        self.tls_port = free_port()
        super().__init__("--tls-port", self.tls_port, "--tls-cert-file", self.pki.path(f"{shown}.pem"), "--tls-key-file",
                         self.pki.path(f"{shown}.key"), "--tls-ca-cert-file", self.pki.path("ca.pem"),
                         "--tls-auth-clients", clients, *options)

    def show(self, name, clients="no"):
        """Shows another certificate from now on, and ends the connections that were made under the old one."""
        self.r.execute_command("CONFIG", "SET", "tls-cert-file", str(self.pki.path(f"{name}.pem")), "tls-key-file",
                               str(self.pki.path(f"{name}.key")), "tls-auth-clients", clients)
        self.r.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.r.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")

    def close(self):
        super().close()
        remove(self.pki.dir)
