"""`gapscope demo`: the stack, and on it a comparison of two runs on the built-in clips."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import click

from frontend.cli.showing import event_line
from frontend.cli.stack import command_line, environment
from frontend.client import GapscopeClient
from frontend.client.addresses import local_key, stack_record
from worker.contract.errors import GapscopeError
from worker.contract.events import RunFinished
from worker.contract.resources import Run

PRESETS = {"demo-joint": "Demo: joint", "demo": "Demo: gmm-adaptive"}
"""The comparison: each preset with the name of its run."""
TAG = "demo"
START_S, STOP_S = 90.0, 15.0


class StopRequestedError(Exception):
    """Ctrl-C, SIGTERM, or the stack has ended."""


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="[default: $GAPSCOPE_HOME, else ./home]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--api-port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--ui-port", default=8501, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option(
    "--train-workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Runs trained side by side."
)
@click.option("--auth", is_flag=True, help="Ask for API keys on loopback, too; prints an address that holds one.")
@click.option("--exit-when-done", is_flag=True, help="Stop once both runs have ended.")
def demo(
    home: Path | None, host: str, api_port: int, ui_port: int, train_workers: int, auth: bool, exit_when_done: bool
) -> None:
    """Start everything and train a comparison on built-in clips; Ctrl-C stops all.

    Two runs with the same clips and seed: `joint` (plain training) and `gmm-adaptive`; nothing else differs.
    """
    folder = (home or Path(os.environ.get("GAPSCOPE_HOME") or "home")).expanduser().resolve()
    arguments = ["--home", str(folder), "--host", host, "--api-port", str(api_port), "--ui-port", str(ui_port)]
    arguments += ["--train-workers", str(train_workers), *(["--auth"] if auth else [])]
    with _stack(arguments) as stack:
        try:
            record = _wait_until_ready(folder, stack)
            # Not closed: when we are stopped, the threads that follow the runs still use it; they end with us.
            client = GapscopeClient(record["api_url"], api_key=local_key(folder))
            _compare(client, str(record["ui_url"]), stack)
            if not exit_when_done:
                click.echo("The pages stay open. Ctrl-C stops everything.")
                stack.wait()
        except StopRequestedError:
            pass
    if stack.returncode not in (0, -signal.SIGTERM):
        raise click.ClickException("The stack has ended by itself; its last lines above say why.")


@contextmanager
def _stack(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Yields the running stack's process; it ends with us, however we end."""

    def stop(_: int, __: FrameType | None) -> None:
        raise StopRequestedError

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # Its own session: Ctrl-C reaches us alone, and we stop it in order. --with-parent: it does not outlive a kill -9.
    stack = subprocess.Popen(
        command_line("up", *arguments, "--with-parent"),
        env=environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield stack
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        if stack.poll() is None:
            stack.terminate()
        try:
            stack.wait(STOP_S)
        except subprocess.TimeoutExpired:
            stack.kill()
            stack.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_ready(home: Path, stack: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if stack.poll() is not None:
            raise StopRequestedError
        record = stack_record(home)
        if record and record.get("pid") == stack.pid and record.get("state") == "ready":
            return record
        time.sleep(0.1)
    raise click.ClickException(
        f"The stack should be ready within {START_S:.0f} s and is not. `gapscope doctor --home {home}` may say why; "
        f"the logs are in {home / 'logs'}."
    )


def _compare(client: GapscopeClient, ui_url: str, stack: subprocess.Popen[bytes]) -> None:
    runs = [_launched(client, preset) for preset in PRESETS]
    click.echo(f"\nOpen  {ui_url}/run?run={quote(runs[0].id)}  to see the first run learn.")
    click.echo(f"Both  {ui_url}/compare?runs={','.join(quote(run.id) for run in runs)}\n")
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            click.echo(line)

    followers = [threading.Thread(target=_follow, args=(client, run, say), daemon=True) for run in runs]
    for follower in followers:
        follower.start()
    while any(follower.is_alive() for follower in followers):
        if stack.poll() is not None:
            raise StopRequestedError
        followers[0].join(0.2)
        time.sleep(0.1)


def _launched(client: GapscopeClient, preset: str) -> Run:
    """Returns the demo's run of a preset: the one of an earlier start if there is one, else a new one."""
    name = PRESETS[preset]
    for run in client.runs(tag=TAG, limit=100):
        if run.name == name and run.state not in ("failed", "cancelled", "cancelling"):
            click.echo(f"{name}: {run.id}, {run.state} (from an earlier start)")
            return run
    run = client.create_run({"preset": preset, "name": name, "tags": [TAG]})
    click.echo(f"{name}: {run.id}, {run.state}")
    return run


def _follow(client: GapscopeClient, run: Run, say: Callable[[str], None]) -> None:
    """Says what a run tells; of one that an earlier start has finished, its end alone."""
    kind = run.spec.objective.kind
    try:
        for event in client.follow(run.id):
            if run.state != "finished" or isinstance(event, RunFinished):
                say(f"{kind:<13} {event_line(event)}")
    except GapscopeError as error:  # the stack is being stopped, or its last words say more
        say(f"{kind:<13} {error.detail}")
