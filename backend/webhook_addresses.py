"""Where a webhook may go: only to public addresses unless allowed, and to the very address that was checked."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

ALLOW = "GAPSCOPE_WEBHOOK_ALLOW_PRIVATE=true"


class RefusedAddressError(Exception):
    """A webhook's address that nothing is sent to; the text says why."""


@dataclass(frozen=True)
class Target:
    """A webhook's address, resolved once: what was checked is what is called."""

    url: str
    """With the host's address in place of its name."""
    host: str
    """The name, for the Host header and the certificate."""
    authority: str


def shown(url: str) -> str:
    """Returns a webhook's address without what may be secret in it: everything after the host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


def resolve(url: str, *, allow_private: bool) -> Target:
    """Returns where to send to.

    Args:
        url: as in the settings.
        allow_private: whether addresses of this machine and of private networks are allowed.

    Raises:
        RefusedAddressError: when it is no http(s) address, cannot be resolved, or is private and that is not allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise RefusedAddressError(f"no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise RefusedAddressError("expected http://... or https://...")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedAddressError(f"the name {host} could not be resolved") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    private = next((address for address in addresses if not _is_public(address)), None)
    if private is not None and not allow_private:
        raise RefusedAddressError(f"{host} is a private address ({private}); {ALLOW} allows such")
    address = addresses[0]
    literal = f"[{address}]" if address.version == 6 else str(address)
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"{parts.scheme}://{literal}:{port}{path}{query}", host, parts.netloc.rpartition("@")[2])


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast
