"""Webhooks: who is told when a run ends. A thread of its own, which holds up nothing and loses no message.

Up to when ends were looked for and what is still to be sent lies in Redis, so a restarted backend goes on. A message is
sent at least once: its id is the same each time, so a receiver can drop a second copy.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final, cast

import httpx
import redis
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from backend.webhook_addresses import RefusedAddressError, resolve, shown
from worker.contract import keys
from worker.contract.ledger import Ledger
from worker.contract.record import JobRecord
from worker.contract.resources import Webhook
from worker.contract.settings import Settings

log = logging.getLogger(__name__)
TICK_S: Final = 1.0
PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 3_600.0)
"""Pauses before the second, third, ... try; after the last a message is given up."""
MAX_WAITING: Final = 1_000
SEND_S: Final = 10.0
"""A turn begins no message after so long: ends are looked for between."""
REST_S: Final = 5.0
"""An address that failed gets nothing for so long: each try of a dead one may take TIMEOUT."""
LOOK_S: Final = 30.0
"""How often all runs are asked when they ended, though none came or went: one may be resumed and end within a turn."""
TIMEOUT: Final = httpx.Timeout(5.0, connect=3.0)
SIGNATURE: Final = "X-Gapscope-Signature"


class Message(BaseModel):
    """What still has to be sent to one address."""

    id: str
    url: str
    type: str
    body: str
    tries: int = 0
    due: float = 0.0


class _Status(BaseModel):
    """What became of the last messages to one address."""

    delivered_at: datetime | None = None
    delivered: str | None = None
    failed_at: datetime | None = None
    failure: str | None = Field(None, max_length=500)


class Webhooks:
    """Watches for runs that end, and tells the addresses of the settings."""

    def __init__(self, settings: Settings, client: redis.Redis, ledger: Ledger) -> None:
        self._settings = settings
        self._client = client
        self._ledger = ledger
        self._seen: tuple[set[str], int] | None = None
        self._looked = 0.0
        self._failed: dict[str, float] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses that are told."""
        return self._settings.webhook_url

    async def run(self) -> None:
        """Takes a turn each second, whatever a turn runs into; ends after the first where no address is set."""
        while True:
            try:
                await asyncio.to_thread(self.turn, time.time())
                if not self.urls:
                    return
            except RedisError as error:
                log.warning("webhooks wait for Redis: %s", error)
            except Exception:  # it must go on: nobody else would send what is due
                log.exception("a turn of the webhooks failed")
            await asyncio.sleep(TICK_S)

    def turn(self, now: float) -> None:
        """Looks for runs that ended since the last turn, and sends what is due.

        Args:
            now: seconds since 1970.
        """
        if not self.urls:
            self._client.delete(keys.WEBHOOK_MARK)  # what ends from now on is not for an address that is set later
            return
        seen = (set(self._ledger.active_ids("run")), self._ledger.count("run"))
        if seen != self._seen or not 0.0 <= now - self._looked < LOOK_S:
            self._look()
            self._seen, self._looked = seen, now
        begun = time.monotonic()
        due = [message for message in self.waiting() if message.due <= now]
        # An address that failed last comes last: however many are dead, the others are told first.
        for message in sorted(due, key=lambda message: self._failed.get(message.url, 0.0)):
            if not 0.0 <= now - self._failed.get(message.url, -REST_S) < REST_S:
                self._send_waiting(message, now)
                if time.monotonic() - begun >= SEND_S:
                    return

    def _look(self) -> None:
        """Keeps a message for each run that ended since the mark, then moves the mark."""
        time.sleep(0.002)  # the mark is the ms before this one, and all that is gone from the active set is older
        seconds, microseconds = self._client.time()
        until = seconds * 1_000 + microseconds // 1_000 - 1
        mark = cast("str | None", self._client.get(keys.WEBHOOK_MARK))
        if mark is not None:
            for record in self._ledger.get_many("run", self._ended(int(mark), until)):
                if record.ended:
                    self._queue(record)
        self._client.set(keys.WEBHOOK_MARK, until)

    def _ended(self, after_ms: int, until_ms: int) -> list[str]:
        """Returns the runs that ended in a span of the server's time, the first to end first."""
        finished = f"{keys.job('run', '*')}->finished_ms"
        newest = cast(
            "list[tuple[str | bytes, str | bytes | None]]",
            self._client.sort(
                keys.jobs("run"), 0, MAX_WAITING, by=finished, get=["#", finished], desc=True, groups=True
            ),
        )
        return [_text(run_id) for run_id, ms in reversed(newest) if after_ms < int(ms or 0) <= until_ms]

    def waiting(self) -> list[Message]:
        """Returns what still has to be sent, the oldest due first."""
        texts = cast("list[str]", self._client.hvals(keys.WEBHOOK_MESSAGES))
        return sorted((Message.model_validate_json(text) for text in texts), key=lambda message: message.due)

    def status(self) -> list[Webhook]:
        """Returns the addresses and what became of the last messages to each."""
        waiting = [message.url for message in self.waiting()] if self.urls else []
        found = []
        for url in self.urls:
            status = _Status.model_validate_json(cast("str", self._client.hget(keys.WEBHOOK_STATUS, url) or "{}"))
            found.append(Webhook(address=shown(url), waiting=waiting.count(url), **status.model_dump()))
        return found

    def test(self) -> list[Webhook]:
        """Sends a test message to each address now, and returns what became of it."""
        now = time.time()
        for url in self.urls:
            body = {"type": "test", "time": _stamp(), "text": "Gapscope: a test message.", "run": None, "link": None}
            self._send(_message(f"test {now}", url, "test", body))
        return self.status()

    def _queue(self, record: JobRecord) -> None:
        if self._client.hlen(keys.WEBHOOK_MESSAGES) >= MAX_WAITING:
            log.error("%s: nobody is told that it ended, %d messages wait already", record.id, MAX_WAITING)
            return
        body = body_of(record, self._settings.ui_origin)
        for url in self.urls:
            # One message for each end of a run: a resumed run that ends again makes another.
            message = _message(f"{record.id} {record.attempt} {record.state}", url, str(body["type"]), body)
            self._client.hset(keys.WEBHOOK_MESSAGES, message.id, message.model_dump_json())

    def _send_waiting(self, message: Message, now: float) -> None:
        if message.url not in self.urls or self._send(message):
            self._failed.pop(message.url, None)
            self._client.hdel(keys.WEBHOOK_MESSAGES, message.id)
            return
        self._failed[message.url] = now
        if message.tries >= len(PAUSES_S):
            log.error("webhook %s: given up after %d tries", shown(message.url), message.tries + 1)
            self._client.hdel(keys.WEBHOOK_MESSAGES, message.id)
        else:
            later = {"due": now + PAUSES_S[message.tries], "tries": message.tries + 1}
            self._client.hset(keys.WEBHOOK_MESSAGES, message.id, message.model_copy(update=later).model_dump_json())

    def _send(self, message: Message) -> bool:
        """Sends once; returns whether the receiver took it."""
        failure = self._failure(message)
        if failure is None:
            self._note(message.url, delivered_at=datetime.now(UTC), delivered=message.type)
            return True
        log.warning("webhook %s: %s", shown(message.url), failure)
        self._note(message.url, failed_at=datetime.now(UTC), failure=failure[:500])
        return False

    def _failure(self, message: Message) -> str | None:
        try:
            target = resolve(message.url, allow_private=self._settings.webhook_allow_private)
            with (
                httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client,
                client.stream(
                    "POST",
                    target.url,
                    content=message.body.encode(),
                    headers={**self._headers(message), "Host": target.authority},
                    extensions={"sni_hostname": target.host},
                ) as response,
            ):
                return None if response.is_success else f"answered {response.status_code}"
        except RefusedAddressError as refusal:
            return str(refusal)
        except httpx.TimeoutException:
            return "no answer in time"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _headers(self, message: Message) -> dict[str, str]:
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "gapscope",
            "X-Gapscope-Delivery": message.id,
            "X-Gapscope-Event": message.type,
            "X-Gapscope-Timestamp": stamp,
        }
        secret = self._settings.webhook_secret
        if secret is not None:
            headers[SIGNATURE] = sign(secret.get_secret_value(), stamp, message.body)
        return headers

    def _note(self, url: str, **changes: Any) -> None:
        status = _Status.model_validate_json(cast("str", self._client.hget(keys.WEBHOOK_STATUS, url) or "{}"))
        self._client.hset(keys.WEBHOOK_STATUS, url, status.model_copy(update=changes).model_dump_json())


def sign(secret: str, timestamp: str, body: str) -> str:
    """Returns the signature header: `sha256=` and the hexadecimal HMAC-SHA256 of "<timestamp>.<body>"."""
    digest = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def body_of(record: JobRecord, ui_origin: str | None) -> dict[str, Any]:
    """Returns what is told of a run that ended.

    Args:
        record: the run.
        ui_origin: of the interface, for the link; None: no link.
    """
    summary, facts = record.run_summary(), record.facts
    name = facts.name or record.id
    fused = summary.accuracy.fused if summary else None
    said = f"Run {name} is {record.state}"
    if fused is not None:
        said += f": fused accuracy {100 * fused:.1f} % after epoch {record.epoch} of {facts.epochs}"
    if record.error is not None:
        said += f": {record.error.detail}"
    return {
        "type": f"run.{record.state}",
        "time": _stamp(),
        "text": f"{said}.",
        "run": {
            "id": record.id,
            "name": name,
            "state": record.state,
            "attempt": record.attempt,
            "tags": list(facts.tags),
            "dataset": facts.dataset_id,
            "objective": facts.objective,
            "epoch": record.epoch,
            "epochs": facts.epochs,
            "accuracy": summary.accuracy.model_dump() if summary else None,
            "mean_abs_gap": summary.mean_abs_gap if summary else None,
            "error": record.error.model_dump(mode="json") if record.error else None,
        },
        "link": f"{ui_origin.rstrip('/')}/run?run={record.id}" if ui_origin else None,
    }


def _message(what: str, url: str, kind: str, body: dict[str, Any]) -> Message:
    message_id = hashlib.sha256(f"{what} {url}".encode()).hexdigest()[:32]
    return Message(id=message_id, url=url, type=kind, body=json.dumps({"id": message_id, **body}))


def _stamp() -> str:
    return datetime.now(UTC).isoformat()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
