"""`gapscope up`: starts everything, watches it, stops it."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from backend.access.keys import KeyStore
from backend.stack import display, local_key, logs, ports, processes, record, server, stopping, table
from backend.stack.errors import DamagedServerFilesError, StackError
from backend.stack.home_lock import HomeLock
from worker.contract.hosts import is_loopback
from worker.contract.layout import Home
from worker.contract.settings import Settings

MOST_EXITS_AT_START = 3
TICK_S, TICK_STARTING_S = 0.25, 0.05
UPKEEP_S = 2.0


class Stack:
    """The running stack of one home; `run` returns when it has been stopped."""

    def __init__(self, plan: table.Plan, shown: display.Display, secret: str | None = None) -> None:
        """Starts nothing yet.

        Args:
            plan: what to start.
            shown: where it is told.
            secret: the key with which this machine's user enters; None where no key is needed.
        """
        self._plan = plan
        self._secret = secret
        self._shown = shown
        self._table = table.build(plan)
        self._orphans = stopping.OrphanWatch()
        self._stop_requests = 0
        self._written: tuple[object, ...] = ()
        self._is_behind = False
        self._began = time.monotonic()
        self._was_ready = False
        self._upkeep_at = 0.0

    def run(self, parent: int | None = None) -> None:
        """Starts, watches and stops the processes.

        Args:
            parent: a process whose end stops the stack, too.

        Raises:
            StackError: when a process does not come up; everything else is stopped then.
        """
        with self._wakeups() as wakeups:
            try:
                while not self._stop_requests:
                    self._turn()
                    if parent is not None and os.getppid() != parent:
                        break
                    wakeups.select(TICK_S if self._was_ready else TICK_STARTING_S)
                    self._drain(wakeups)
            finally:
                self._stop()

    def _turn(self) -> None:
        for entry in self._table:
            # Nothing can work before the server answers for the first time; all the rest comes up side by side.
            if entry.health == "waiting" and entry.name != "server" and not self._server_is_up():
                continue
            entry.step()
            if entry.exits_before_healthy >= (1 if entry.name == "server" else MOST_EXITS_AT_START):
                self._give_up_at_start(entry)
        self._shown.show(self._table)
        if not self._was_ready and self._state() == "ready":
            self._was_ready = True
            self._announce()
        self._write_record(self._state())
        if time.monotonic() >= self._upkeep_at:
            self._upkeep()

    def _server_is_up(self) -> bool:
        entry = self._table[0]
        return entry.name != "server" or entry.health == "healthy" or entry.restarts > 0 or self._was_ready

    def _state(self) -> str:
        if all(entry.health == "healthy" for entry in self._table):
            return "ready"
        return "degraded" if self._was_ready else "starting"

    def _upkeep(self) -> None:
        self._upkeep_at = time.monotonic() + UPKEEP_S
        for name in self._orphans.step({entry.pid for entry in self._table if entry.pid}):
            self._shown.say(f"ended {name}: the process that had started it is gone")
        for entry in self._table:
            logs.rotate(entry.log)

    def _announce(self) -> None:
        seconds = time.monotonic() - self._began
        # Behind the #, the key reaches the page alone: no log, no history of a proxy.
        entrance = "" if self._secret is None else f"/login#key={self._secret}"
        self._shown.say(
            f"Ready after {seconds:.1f} s. Pages: {self._plan.ui_url}{entrance}   API: {self._plan.api_url}/docs"
        )

    def _give_up_at_start(self, entry: processes.Supervised) -> None:
        words = entry.last_words()
        if entry.name == "server" and self._plan.server is not None and self._plan.server.is_damaged(words):
            raise DamagedServerFilesError(
                f"The server's append-only files in {self._plan.server.folder} are damaged: {words[-1]}. Run "
                f"`gapscope doctor --fix --home {self._plan.home}`: it sets them aside, and the run folders rebuild "
                "what they held."
            )
        if self._was_ready:  # it came up once, so it may come up again: go on trying
            return
        shown = "\n  ".join(words) or "(it wrote nothing)"
        raise StackError(
            f"{entry.name} should stay up, but {entry.reason.partition(';')[0]} {entry.exits_before_healthy} times "
            f"while starting. The end of {entry.log}:\n  {shown}\n"
            f"`gapscope doctor --home {self._plan.home}` may say more."
        )

    def _write_record(self, state: str) -> None:
        now = (state, *((entry.health, entry.pid, entry.restarts) for entry in self._table))
        if now == self._written:
            return
        try:
            record.write(self._plan, self._table, state)
        except OSError as error:  # a full disk must end nothing, least of all the stop: the next turn tries again
            if not self._is_behind:
                self._shown.say(f"{record.path_of(self._plan.home)} cannot be written: {error.strerror or error}")
            self._is_behind = True
            return
        self._written, self._is_behind = now, False

    def _stop(self) -> None:
        self._shown.say("Stopping (press Ctrl-C again to kill everything at once)")
        self._write_record("stopping")
        begun = self._stop_requests
        stopping.stop_all(
            self._table, lambda: self._shown.show(self._table), lambda: self._stop_requests > max(begun, 1)
        )
        for name in stopping.kill_descendants():
            self._shown.say(f"ended {name}, which was still there")
        with suppress(OSError):  # what it names is gone, which the next start sees
            record.remove(self._plan.home)

    @contextmanager
    def _wakeups(self) -> Iterator[selectors.BaseSelector]:
        """Yields a selector that wakes at signals: to stop, and when a child ended."""
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        handled = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup we outlive the terminal
            handled.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        old_wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            with selectors.DefaultSelector() as selector, reading, writing:
                selector.register(reading, selectors.EVENT_READ)
                yield selector
                signal.set_wakeup_fd(old_wakeup)
        finally:
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._stop_requests += number != signal.SIGCHLD

    def _drain(self, wakeups: selectors.BaseSelector) -> None:
        for key, _ in wakeups.select(0):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv(4096)


def up(
    settings: Settings,
    host: str,
    api_port: int,
    ui_port: int,
    parent: int | None = None,
    train_workers: int = 1,
    auth: bool = False,
) -> None:
    """Runs the stack until it is told to stop.

    Args:
        settings: home, and the server's address where one is given.
        host: the address to listen on; one that other machines reach needs a home with API keys.
        api_port: the API's port; 0 for any free one.
        ui_port: the pages' port; 0 for any free one.
        parent: a process whose end stops the stack, too.
        train_workers: runs that are trained side by side.
        auth: ask for keys on loopback, too.

    Raises:
        GapscopeError: with what is in the way and what to do about it.
    """
    home = _ready_home(settings.home)
    has_keys = any(key.revoked_at is None and key.name != local_key.NAME for key in KeyStore(home).all())
    host = ports.listening_address(host, has_keys=has_keys)
    if settings.auth == "auto" and settings.asks_for_keys and not has_keys:
        raise StackError(
            "GAPSCOPE_PUBLIC_URL or GAPSCOPE_UI_ORIGIN names another host, so others reach this Gapscope and every "
            "caller needs an API key, and this home has none. Make one first: gapscope keys create YOUR-NAME --role "
            "admin (with the same --home).",
            code="no-api-keys",
        )
    auth = auth or settings.asks_for_keys or not is_loopback(host)
    with HomeLock(home) as lock, local_key.of_this_stack(home, wanted=auth) as secret:
        processes.adopt_orphans()
        killed = record.kill_leftovers(home)
        api_port, ui_port = _choose_ports(host, api_port, ui_port)
        given = settings.redis_url if "redis_url" in settings.model_fields_set else None
        embedded = server.prepare(home) if given is None else None
        redis_url = embedded.url if embedded is not None else settings.redis_url
        plan = table.Plan(home, host, api_port, ui_port, embedded, redis_url, train_workers, auth)
        lock.name_holder(api_url=plan.api_url, ui_url=plan.ui_url)
        about = f"embedded server on port {embedded.port}" if embedded else server.check_given(redis_url)
        shown = display.for_this_terminal() if parent is None else display.PlainDisplay()
        try:
            if killed:
                shown.say(f"An earlier stack ended badly; ended {len(killed)} processes that it had left behind")
            shown.say(f"Home {home}, {about}, logs in {plan.logs}")
            Stack(plan, shown, secret).run(parent)
            shown.say("Stopped")
        finally:
            shown.close()


def _ready_home(path: Path) -> Path:
    home = path.expanduser().resolve()
    try:
        Home(home).create()
        (home / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(
            f"The home must be a folder that this user can write to, but {home} is not ({error.strerror}). "
            "Choose another with --home.",
            code="home-not-writable",
        ) from error
    return home


def _choose_ports(host: str, api_port: int, ui_port: int) -> tuple[int, int]:
    if api_port == 0 and ui_port == 0:
        api_port, ui_port = ports.free_ports(host, 2)
    elif api_port == ui_port:
        raise StackError(
            f"API and pages need different ports, got {api_port} for both. Change --api-port or --ui-port.",
            code="same-port",
        )
    return ports.choose(host, api_port, "--api-port"), ports.choose(host, ui_port, "--ui-port")
