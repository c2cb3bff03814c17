"""HTTP with the API's manners: idempotent calls are tried again, every other answer than success is an exception."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from frontend.client.errors import ServerError, UnreachableError, error_from
from frontend.client.pages import Page
from worker.contract.spec import Spec

PREFIX = "/api/v1"
PAUSES_S = (0.2, 0.8)
TRY_AGAIN = frozenset({502, 503, 504})
KEPT_S = 2.0
"""How long an idle connection is used again: the API closes one after 5 s, and a request just then would be lost."""
Parameters = Mapping[str, Any]
M = TypeVar("M", bound=BaseModel)


class Transport:
    """A connection pool to one API; may be shared by threads."""

    def __init__(
        self, base_url: str, timeout_s: float, pauses_s: tuple[float, ...] = PAUSES_S, api_key: str | None = None
    ) -> None:
        """Connects to nothing yet.

        Args:
            base_url: the API's address, without the prefix.
            timeout_s: longest silence of the API.
            pauses_s: pauses before the second, third, ... try of an idempotent call.
            api_key: sent with each call; None: the API asks for none.
        """
        self.base_url = base_url.rstrip("/")
        self._pauses_s = pauses_s
        # No proxy from the environment for the loopback: it could not reach it.
        loopback = httpx.URL(self.base_url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.base_url + PREFIX,
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            follow_redirects=True,
            trust_env=not loopback,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            limits=httpx.Limits(keepalive_expiry=KEPT_S),
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """Returns the JSON of a GET."""
        return self.decoded(self.send("GET", path, parameters=parameters))

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Returns the JSON of a POST. It carries an Idempotency-Key, so it may be sent again when the line breaks.

        Args:
            path: below the prefix.
            body: sent as JSON.
            key: the Idempotency-Key; None: one of this call alone.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self.decoded(self.send("POST", path, json=body, headers=headers, idempotent=True))

    def send(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        idempotent: bool | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Returns an answer below 400.

        Args:
            method: GET, POST, DELETE.
            path: below the prefix.
            parameters: query parameters; None values are left out.
            idempotent: whether it may be sent again; by default only a GET.
            options: further arguments of httpx.

        Raises:
            GapscopeError: what the API says, or that it does not answer.
        """
        again = method == "GET" if idempotent is None else idempotent
        for pause_s in (*(self._pauses_s if again else ()), None):
            try:
                response = self._http.request(method, path, params=_present(parameters), **options)
            except httpx.TransportError as error:
                if pause_s is None:
                    raise self.unreachable(error) from error
            else:
                if response.status_code < 400:
                    return response
                if pause_s is None or response.status_code not in TRY_AGAIN:
                    raise error_from(response)
            time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout_s: float, **parameters: Any
    ) -> Iterator[httpx.Response]:
        """Yields an open answer whose body is read by and by.

        Raises:
            GapscopeError: what the API says instead.
        """
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        with self._http.stream(
            "GET", path, params=_present(parameters), headers=dict(headers), timeout=timeout
        ) as response:
            if response.status_code >= 400:
                response.read()
                raise error_from(response)
            yield response

    def decoded(self, response: httpx.Response) -> Any:
        """Returns the JSON of an answer."""
        try:
            return response.json()
        except ValueError as error:
            raise ServerError(
                f"Expected JSON from {response.request.url}, got {response.text[:120]!r}. Is this the address of a "
                "Gapscope API?",
                code="no-json",
            ) from error

    def unreachable(self, error: httpx.TransportError) -> UnreachableError:
        """Returns the exception for an API that does not answer."""
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return UnreachableError(
                f"The API at {self.base_url} took too long to answer. Try again; `gapscope doctor` says what it lacks.",
                code="api-timeout",
            )
        return UnreachableError(
            f"The API at {self.base_url} does not answer ({str(error) or type(error).__name__}). Start it with "
            "`gapscope up`, or set GAPSCOPE_API_URL to where it runs."
        )


def typed(model: type[M], value: Any) -> M:
    """Returns a value of the API as a model of the contract.

    Raises:
        ServerError: when it does not fit: client and API are of different versions.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ServerError(
            f"The API sent a {model.__name__} that this client cannot read ({where}: {first['msg']}). Use the same "
            "version of Gapscope on both sides.",
            code="version-mismatch",
        ) from error


def typed_page(model: type[M], value: Any) -> Page[M]:
    """Returns a page of a list as models of the contract."""
    return Page([typed(model, item) for item in value["items"]], value["next"], value.get("total"))


def _present(parameters: Parameters | None) -> dict[str, Any]:
    return {name: value for name, value in (parameters or {}).items() if value is not None}


def body_of(spec: Mapping[str, Any] | Spec) -> dict[str, Any]:
    """Returns a spec, or its fields, as the body of a request."""
    return spec.model_dump(mode="json") if isinstance(spec, BaseModel) else dict(spec)
