"""Whose pages may talk to a server: what `Host` and `Origin` tell. One rule for the API and for the pages.

A web page elsewhere can make its own name point to 127.0.0.1 (DNS rebinding): its requests then come as from here, but
`Host` still has that name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Returns whether a host (a name or an address, without port) is this machine itself."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def netloc_of(address: str) -> str:
    """Returns host and port of an address in lower case; empty where it has none, or is none."""
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:  # such as a bracket that is not closed
        return ""


def is_public(address: str | None) -> bool:
    """Returns whether an address, such as that of a reverse proxy, names another host than this machine itself."""
    return address is not None and not _names_loopback(netloc_of(address))


def is_own_host(host: str, own: str | None, listens_on: str | None) -> bool:
    """Returns whether a request with this Host may be answered.

    Args:
        host: in lower case, as sent.
        own: host and port of the address that the server is known by, if any.
        listens_on: the address on which the request came in. A server off loopback is asked by bare words and
            addresses, too; a port of it may be published on loopback (containers) where it cannot see that.
    """
    if host == own or _names_loopback(host):
        return True
    on_loopback = listens_on is not None and is_loopback(listens_on)
    return not on_loopback and not _is_dotted_name(host)


def is_own_origin(origin: str, pages: Collection[str], hosts: Collection[str | None]) -> bool:
    """Returns whether a request with this Origin comes from the pages, or from a page of the server itself.

    Args:
        origin: as sent.
        pages: origins of the pages.
        hosts: hosts and ports of the server, such as the request's own.
    """
    netloc = netloc_of(origin)
    return origin in pages or (bool(netloc) and netloc in hosts)


def own_origins(origin: str | None) -> list[str]:
    """Returns the origin of the pages in each spelling of loopback, or nothing where none is known."""
    if origin is None:
        return []
    parts = urlsplit(origin.rstrip("/"))
    if parts.hostname is None or not is_loopback(parts.hostname):
        return [f"{parts.scheme}://{parts.netloc}"]
    port = f":{parts.port}" if parts.port else ""
    return [f"{parts.scheme}://{name}{port}" for name in _LOOPBACK_NAMES]


def _names_loopback(netloc: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{netloc}").hostname or "")
    except ValueError:
        return False


def _is_dotted_name(netloc: str) -> bool:
    """Returns whether a Host is a name that anybody could make point to any address: no address, no bare word."""
    try:
        ipaddress.ip_address(urlsplit(f"//{netloc}").hostname or "")
    except ValueError:
        return "." in netloc
    return False
