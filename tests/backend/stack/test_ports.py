"""Ports: which are refused, and in which words."""

from __future__ import annotations

import os
import socket

import pytest

from backend.stack import ports
from backend.stack.errors import PortTakenError, StackError


def test_taken_port_is_refused_with_its_holder_and_another_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError) as raised:
            ports.choose("127.0.0.1", port, "--api-port")
    assert f"Port {port}" in raised.value.detail
    assert f"process {os.getpid()}" in raised.value.detail
    assert f"--api-port {port + 1}" in raised.value.detail


def test_port_zero_is_any_free_one() -> None:
    port = ports.choose("127.0.0.1", 0, "--api-port")
    assert ports.is_free("127.0.0.1", port)


def test_free_ports_are_different() -> None:
    assert len(set(ports.free_ports("127.0.0.1", 5))) == 5


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_address_that_others_reach_needs_a_home_with_keys(host: str) -> None:
    with pytest.raises(StackError) as raised:
        ports.listening_address(host, has_keys=False)
    assert raised.value.code == "no-api-keys"
    assert "gapscope keys create" in raised.value.detail
    assert ports.listening_address(host, has_keys=True) == host


def test_a_name_is_no_address_to_listen_on() -> None:
    with pytest.raises(StackError, match="IP address"):
        ports.listening_address("gapscope.example.org", has_keys=True)


def test_a_server_on_all_addresses_is_reached_on_loopback() -> None:
    assert [ports.reachable(host) for host in ("0.0.0.0", "::", "10.0.0.7")] == ["127.0.0.1", "::1", "10.0.0.7"]


def test_loopback_addresses_need_no_key() -> None:
    hosts = ("localhost", "127.0.0.2", "::1")
    assert [ports.listening_address(host, has_keys=False) for host in hosts] == ["127.0.0.1", "127.0.0.2", "::1"]
    assert ports.url("::1", 80) == "http://[::1]:80"
