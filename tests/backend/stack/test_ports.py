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


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "gapscope.example.org"])
def test_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(StackError, match="no API keys") as raised:
        ports.loopback_address(host)
    assert raised.value.code == "host-not-loopback"


def test_loopback_addresses_are_taken() -> None:
    assert [ports.loopback_address(host) for host in ("localhost", "127.0.0.2", "::1")] == [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
    ]
    assert ports.url("::1", 80) == "http://[::1]:80"
