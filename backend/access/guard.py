"""The gate of the API: every request gets a caller here, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.access.audit import AuditLog
from backend.access.keys import ApiKey, KeyStore, Role
from backend.access.rates import RateLimit
from backend.access.tickets import PARAMETER, Tickets
from backend.places import LOCAL_USER
from backend.problems import ForbiddenError, answer
from backend.security import SAFE_METHODS, MediaSigner
from worker.contract.errors import GapscopeError, TooManyError
from worker.contract.hosts import is_loopback
from worker.contract.settings import Settings

FAILURES_PER_MINUTE: Final = 30
"""Wrong keys that one address may show, and refusals of it that are written down."""
READER_POSTS: Final = ("/runs/estimate", "/access/tickets")
"""POSTs that change nothing."""


class KeyNeededError(GapscopeError):
    """The request has no valid key."""

    status = 401
    title = "A key is needed"
    default_code = "key-needed"


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    name: str
    role: Role
    key: ApiKey | None
    """None: nobody needs a key here, on this machine itself."""


LOCAL: Final = Caller(LOCAL_USER, "admin", None)


def caller_of(request: Request) -> Caller | None:
    """Returns who sends a request; None for the bearer of a signed address."""
    caller = request.scope.get("caller")
    assert caller is None or isinstance(caller, Caller)
    return caller


class Access:
    """ASGI middleware that lets in who has a key of the role that is needed, and writes down who changed what.

    Where no key is needed (see `Settings.auth`) everybody is let in, and changes are written down all the same.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, prefix: str, keys: KeyStore, tickets: Tickets, signer: MediaSigner
    ) -> None:
        self._app = app
        self._auth = "on" if settings.asks_for_keys else settings.auth
        self._prefix = prefix
        self._open = frozenset({f"{prefix}/health/live"})
        self._keys = keys
        self._tickets = tickets
        self._signer = signer
        self._requests = RateLimit(settings.requests_per_minute)
        self._failures = RateLimit(FAILURES_PER_MINUTE)
        self._noted = RateLimit(FAILURES_PER_MINUTE)
        self._audit = AuditLog(settings.home, settings.max_audit_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401, 403 or 429, or hands the request on with its caller in `scope["caller"]`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = _Record(send, lambda: self._write_down(scope, record))
        try:
            caller = self._admit(scope)
            scope["caller"] = record.caller = caller
        except GapscopeError as error:
            record.refused = True
            headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
            if isinstance(error, _TooFastError):
                headers = {"Retry-After": str(math.ceil(error.wait_s))}
            await answer(error.problem(), headers)(scope, receive, record)
        else:
            await self._app(scope, receive, record)

    def _admit(self, scope: Scope) -> Caller | None:
        path = scope["path"]
        if path in self._open or (scope["method"] == "OPTIONS"):
            return None
        if not self._needs_key(scope):
            return LOCAL
        if scope["method"] in ("GET", "HEAD") and self._is_signed(scope):
            return None
        key = self._key(scope)
        if wait_s := self._requests.wait_s(key.id):
            raise _TooFastError(wait_s)
        role = required_role(scope, self._prefix)
        if not key.may(role):
            raise ForbiddenError(
                f"This needs a key of the role {role!r}; {key.name!r} is a {key.role}. Ask whoever runs this Gapscope "
                "for another key.",
                code="role-too-low",
            )
        return Caller(f"{key.name} ({key.id})", key.role, key)

    def _needs_key(self, scope: Scope) -> bool:
        if self._auth != "auto":
            return self._auth == "on"
        server = scope.get("server")
        return server is None or not is_loopback(str(server[0]))

    def _is_signed(self, scope: Scope) -> bool:
        """Returns whether the address carries a valid signature of its own: media, without a key.

        Raises:
            ForbiddenError: when it carries one that is not valid.
        """
        query = dict(_query(scope))
        if "signature" not in query:
            return False
        expires = _number(query.get("expires"))
        self._signer.check(scope["path"], query.get("track", "video"), expires, query["signature"])
        return True

    def _key(self, scope: Scope) -> ApiKey:
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        ticket = _take_ticket(scope)
        if not secret and ticket is None:
            raise KeyNeededError(
                "Send an API key in the header `Authorization: Bearer gsk_...`. Whoever runs this Gapscope makes one "
                "with `gapscope keys create`; the command line takes it from GAPSCOPE_API_KEY."
            )
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None and ticket is not None:
            key = self._tickets.owner(ticket, scope["method"], scope["path"])
        if key is None:
            self._refuse_wrong(scope, "ticket" if ticket is not None else "key")
        return key

    def _refuse_wrong(self, scope: Scope, what: str) -> NoReturn:
        if wait_s := self._failures.wait_s(_address(scope)):
            raise _TooFastError(wait_s)
        raise KeyNeededError(
            f"This {what} is not valid here: it is mistyped, or was revoked, or has expired. Ask for a new one.",
            code=f"{what}-invalid",
        )

    def _write_down(self, scope: Scope, record: _Record) -> None:
        if scope["method"] in SAFE_METHODS and record.status not in (401, 403):
            return
        if scope["method"] == "OPTIONS":
            return
        if record.refused and self._noted.wait_s(_address(scope)):  # a flood must not push out what others did
            return
        caller = record.caller
        self._audit.write(
            caller="refused" if record.refused else caller.name if caller else "nobody",
            role=caller.role if caller else "",
            client=_address(scope),
            method=scope["method"],
            path=scope["path"],
            status=record.status,
        )


class _Record:
    """Passes an answer on and keeps its status; what is to be written down is, before anybody sees the answer."""

    def __init__(self, send: Send, on_start: Callable[[], None]) -> None:
        self._send = send
        self._on_start = on_start
        self.status = 0
        self.caller: Caller | None = None
        self.refused = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._on_start()
        await self._send(message)


class _TooFastError(TooManyError):
    default_code = "rate-limited"

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"Too many requests from you; go on in {wait_s:.1f} s.")
        self.wait_s = wait_s


def required_role(scope: Scope, prefix: str) -> Role:
    """Returns the least role that may send a request.

    Readers look at everything; runners launch, cancel, tag, and delete runs (which can be brought back), scores and
    subsets; what else is final (datasets, stores, purges, the trash) or concerns the server is an admin's.
    """
    path = scope["path"].removeprefix(prefix)
    if scope["method"] in SAFE_METHODS or (scope["method"] == "POST" and path in READER_POSTS):
        return "reader"
    final = dict(_query(scope)).get("purge", "false").lower() != "false"
    if (
        final
        or path.startswith("/system")
        or (scope["method"] == "DELETE" and path.startswith(("/datasets", "/stores", "/trash")))
    ):
        return "admin"
    return "runner"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 16 else None


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _take_ticket(scope: Scope) -> str | None:
    """Takes the ticket out of the query: routes refuse parameters that they do not know."""
    pairs = _query(scope)
    tickets: list[str] = [value for name, value in pairs if name == PARAMETER]
    if not tickets:
        return None
    scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != PARAMETER]).encode()
    return tickets[0]
