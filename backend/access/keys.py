"""API keys: made once, kept as digests in the home, revoked at once."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.errors import ConflictError, GapscopeError, InvalidRequestError, NotFoundError
from worker.contract.layout import write_atomically

Role = Literal["reader", "runner", "admin"]
ROLES: Final[tuple[Role, ...]] = ("reader", "runner", "admin")
"""From the least to the most that may be done."""
SECRET_BYTES: Final = 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}\Z")
_SECRET: Final = re.compile(r"gsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


class CorruptKeysError(GapscopeError):
    """The file of keys cannot be read: nobody is let in until it can."""

    status = 503
    title = "Not available now"
    default_code = "keys-unreadable"


class ApiKey(BaseModel):
    """What is kept of a key; the secret itself is shown once and stored nowhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(max_length=64)
    role: Role
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the secret. A slow hash would add nothing: the secret has 256 random bits.",
    )
    created_at: datetime
    revoked_at: datetime | None = None

    def may(self, role: Role) -> bool:
        """Returns whether this key's role reaches what another role may do."""
        return ROLES.index(self.role) >= ROLES.index(role)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    keys: list[ApiKey] = Field(default_factory=list, max_length=10_000)


class KeyStore:
    """The keys of a home, in keys.json (0600). Changes are seen by a running API with its next request."""

    def __init__(self, home: Path) -> None:
        self._path = home / "keys.json"
        self._seen: tuple[tuple[int, int, int], dict[str, ApiKey]] | None = None

    def create(self, name: str, role: Role) -> tuple[ApiKey, str]:
        """Makes a key and returns it with its secret, which cannot be had again.

        Args:
            name: of its owner; told in the audit log. No two valid keys share one.
            role: what it may do.

        Raises:
            InvalidRequestError: code `invalid-key-name`.
            ConflictError: code `key-name-taken`, while another valid key has that name.
        """
        if not NAME.match(name):
            raise InvalidRequestError(
                "Expected a name of 1 to 64 letters, digits, spaces and ._@-, beginning with a letter or digit; got "
                f"{name[:80]!r}.",
                code="invalid-key-name",
            )
        secret_part = secrets.token_urlsafe(SECRET_BYTES)
        key_id = secrets.token_hex(6)
        secret = f"gsk_{key_id}_{secret_part}"
        key = ApiKey(id=key_id, name=name, role=role, digest=_digest(secret), created_at=datetime.now(UTC))
        with self._changing() as keys:
            if any(one.name == name and one.revoked_at is None for one in keys):
                raise ConflictError(
                    f"A valid key is named {name!r} already. Choose another name, or revoke that key first.",
                    code="key-name-taken",
                )
            keys.append(key)
        return key, secret

    def revoke(self, name_or_id: str) -> ApiKey:
        """Ends a key; whoever uses it is refused from the next request on.

        Raises:
            NotFoundError: code `key-not-found`, when no valid key has that name or id.
        """
        with self._changing() as keys:
            for position, key in enumerate(keys):
                if key.revoked_at is None and name_or_id in (key.name, key.id):
                    keys[position] = key.model_copy(update={"revoked_at": datetime.now(UTC)})
                    return keys[position]
        raise NotFoundError(f"No valid key has the name or id {name_or_id[:80]!r}.", code="key-not-found")

    def all(self) -> list[ApiKey]:
        """Returns all keys, revoked ones too, in the order in which they were made."""
        return list(self._read().values())

    def get(self, key_id: str) -> ApiKey | None:
        """Returns a valid key by its id."""
        key = self._read().get(key_id)
        return key if key is not None and key.revoked_at is None else None

    def find(self, secret: str) -> ApiKey | None:
        """Returns the valid key that a secret belongs to."""
        match = _SECRET.match(secret)
        key = self.get(match[1]) if match else None
        return key if key is not None and hmac.compare_digest(key.digest, _digest(secret)) else None

    def _read(self) -> dict[str, ApiKey]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._seen is None or self._seen[0] != stamp:
            self._seen = (stamp, {key.id: key for key in self._load()})
        return self._seen[1]

    def _load(self) -> list[ApiKey]:
        try:
            return _KeyFile.model_validate(json.loads(self._path.read_bytes())).keys
        except FileNotFoundError:
            return []
        except (OSError, ValueError, ValidationError) as error:
            raise CorruptKeysError(
                f"The file of API keys {self._path} cannot be read ({type(error).__name__}). Mend it or set it aside, "
                "then make keys anew with `gapscope keys create`."
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """Yields the keys to change, alone among processes, and writes them when the block ends well."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name("keys.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._load()
            yield keys
            before = os.umask(0o077)
            try:
                write_atomically(self._path, _KeyFile(keys=keys).model_dump_json(indent=1).encode())
            finally:
                os.umask(before)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
