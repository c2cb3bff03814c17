"""TCP ports of this machine: free ones, taken ones, and who took them."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from backend.stack.errors import PortTakenError, StackError


def listening_address(host: str, *, has_keys: bool) -> str:
    """Returns the address that `host` names.

    Args:
        host: `localhost` or an IP address.
        has_keys: whether the home has a valid API key.

    Raises:
        StackError: when it is no address, or other machines could reach it and nobody has a key.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise StackError(
            f"--host must be `localhost` or an IP address of this machine, got {host!r}.", code="host-no-address"
        ) from None
    if not address.is_loopback and not has_keys:
        raise StackError(
            f"--host {host} can be reached from other machines, so every caller needs an API key, and this home has "
            "none. Make one first: gapscope keys create YOUR-NAME --role admin (with the same --home). Or stay on "
            "127.0.0.1 and use a tunnel: ssh -L 8501:127.0.0.1:8501 -L 8000:127.0.0.1:8000 THIS-MACHINE",
            code="no-api-keys",
        )
    return host


def reachable(host: str) -> str:
    """Returns the address at which this machine reaches a server that listens on `host`."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def url(host: str, port: int) -> str:
    """Returns the HTTP address of a port."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_free(host: str, port: int) -> bool:
    """Returns whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(host: str, count: int) -> list[int]:
    """Returns different ports that nothing listens on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probes = [socket.socket(family, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def holder(port: int) -> str:
    """Returns who listens on a port, in words, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, OSError):
        return "another program"
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
        if listens and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return "another program"


def choose(host: str, port: int, option: str) -> int:
    """Returns the port to listen on: `port`, or a free one where it is 0.

    Args:
        host: the address to listen on.
        port: 0..65535.
        option: the command-line option that sets the port, for the message.

    Raises:
        PortTakenError: when another program listens on `port`.
    """
    if port == 0:
        return free_ports(host, 1)[0]
    if not is_free(host, port):
        raise PortTakenError(
            f"Port {port} of {host} should be free, but {holder(port)} listens on it (or this user may not use it). "
            f"Stop that program, or choose another port: {option} {port + 1}, or {option} 0 for any free one."
        )
    return port
