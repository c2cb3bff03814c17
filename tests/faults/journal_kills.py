"""`python -m tests.faults.journal_kills`: a million events by writers that are killed all the time; none may be lost.

The writer of a journal is forked, says of each event that it is written, and is killed at a random moment, also while
it opens the journal. After some deaths a part of the next line is left behind, as a power loss would leave it. What a
reader has seen is digested at each death and looked at again at the end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import select
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

from worker.contract.events import EpochFinished, Event, RunInterrupted, parse_event
from worker.contract.journal import Journal
from worker.contract.layout import RunFolder

GOLDEN = Path(__file__).parents[1] / "golden" / "events" / "epoch_finished.json"
EPOCH_EVERY = 50
ACKNOWLEDGED_BYTES = 8
FAULTS_SHOWN = 5


@dataclass
class Tally:
    """What became of a journal."""

    events: int = 0
    kills: int = 0
    torn: int = 0
    """Deaths after which a part of a line was left behind."""
    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Adds another journal's."""
        self.events += other.events
        self.kills += other.kills
        self.torn += other.torn
        self.lost += other.lost
        self.doubled += other.doubled
        self.faults += other.faults


class Seen:
    """What a reader has seen of a journal: a checksum of all complete lines at each look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.num_lines = 0
        self._marks: list[tuple[int, int]] = [(0, 0)]

    def look(self) -> None:
        """Takes in the complete lines that are new."""
        end, checksum = self._marks[-1]
        with self._path.open("rb") as file:
            file.seek(end)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.num_lines += whole.count(b"\n")
        self._marks.append((end + len(whole), zlib.crc32(whole, checksum)))

    def changed(self) -> int | None:
        """Returns the first byte before which something is other than when it was seen, None if nothing is."""
        checksum, before = 0, 0
        with self._path.open("rb") as file:
            for end, expected in self._marks:
                checksum = zlib.crc32(file.read(end - before), checksum)
                before = end
                if checksum != expected:
                    return end
        return None


def event_of(number: int) -> Event:
    """Returns the event of a number; an epoch now and then, as a run has them."""
    if number % EPOCH_EVERY == 0:
        epoch = parse_event(GOLDEN.read_bytes())
        assert isinstance(epoch, EpochFinished)
        return epoch.model_copy(update={"epoch": number // EPOCH_EVERY})
    return RunInterrupted(reason=f"event {number} {'x' * (number * 7_919 % 300)}", epoch=number)


def under_kills(folder: Path, num_events: int, seed: int, mean_s: float, wait_s: float = 60.0) -> Tally:
    """Writes one journal under kills and returns what became of it.

    Args:
        folder: an empty one.
        num_events: to write.
        seed: of the moments of the kills.
        mean_s: mean time from a start to its kill.
        wait_s: longest time without an event, before it is told as hanging.
    """
    run, chance, tally = RunFolder(folder), random.Random(seed), Tally(events=num_events)
    run.events.touch()
    seen, acknowledged, attempt = Seen(run.events), 0, 0
    while acknowledged < num_events and not tally.faults:
        attempt += 1
        acknowledged, status = _life(run, num_events, attempt, chance.expovariate(1 / mean_s), acknowledged, wait_s)
        seen.look()
        if seen.num_lines < acknowledged:
            tally.faults.append(f"attempt {attempt}: {acknowledged} were written, {seen.num_lines} are there")
        if status == signal.SIGKILL:
            tally.kills += 1
            if seen.num_lines < num_events and chance.random() < 0.5:
                _tear(run, seen.num_lines + 1, chance)
                tally.torn += 1
        elif status != 0:
            tally.faults.append(f"attempt {attempt} after event {acknowledged}: the writer ended with {status}")
    _compare(run.events, num_events, tally)
    if (place := seen.changed()) is not None:
        tally.faults.append(f"what was seen before byte {place} has changed")
    return tally


def _life(
    run: RunFolder, num_events: int, attempt: int, until_kill_s: float, acknowledged: int, wait_s: float
) -> tuple[int, int]:
    """Starts a writer, kills it after a while; returns the newest event that it told of, and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _write(run, num_events, attempt, writing)
    os.close(writing)
    deadline, said = time.monotonic() + until_kill_s, b""
    hung = time.monotonic() + wait_s
    while time.monotonic() < min(deadline, hung):
        ready, _, _ = select.select([reading], [], [], max(0.0, min(deadline, hung) - time.monotonic()))
        data = os.read(reading, 1 << 16) if ready else b""
        if ready and not data:
            break
        said, hung = (said + data)[-(1 << 16) :], time.monotonic() + wait_s
    os.kill(pid, signal.SIGKILL)
    while data := os.read(reading, 1 << 16):
        said += data
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    whole = len(said) // ACKNOWLEDGED_BYTES * ACKNOWLEDGED_BYTES
    newest = int.from_bytes(said[whole - ACKNOWLEDGED_BYTES : whole], "little") if whole else acknowledged
    return newest, os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else os.WTERMSIG(status)


def _write(run: RunFolder, num_events: int, attempt: int, writing: int) -> NoReturn:
    try:
        journal = Journal.open(run, run_id="run-1", token=attempt, attempt=attempt, ledger=None)
        while journal.seq < num_events:
            written = journal.append(event_of(journal.seq + 1))
            os.write(writing, written.seq.to_bytes(ACKNOWLEDGED_BYTES, "little"))
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def _tear(run: RunFolder, number: int, chance: random.Random) -> None:
    """Leaves a part of the next event's line behind."""
    line = event_of(number).model_copy(update={"seq": number}).model_dump_json().encode()
    with run.events.open("ab") as file:
        file.write(line[: chance.randrange(1, len(line))])


def _compare(path: Path, num_events: int, tally: Tally) -> None:
    """Counts what is lost, doubled, out of order or other than it was written."""
    numbers: Counter[int] = Counter()
    with path.open("rb") as file:
        for place, line in enumerate(file, start=1):
            try:
                event = parse_event(line)
            except ValueError as error:
                tally.faults.append(f"line {place} is no event: {str(error)[:200]}")
                continue
            told = event.epoch * EPOCH_EVERY if isinstance(event, EpochFinished) else getattr(event, "epoch", 0)
            numbers[told] += 1
            expected = event_of(place).model_copy(
                update={"seq": place, "run_id": "run-1", "attempt": event.attempt, "time": event.time}
            )
            if event != expected:
                tally.faults.append(f"line {place} has seq {event.seq} and the content of event {told}")
    tally.lost = sum(number not in numbers for number in range(1, num_events + 1))
    tally.doubled = sum(count - 1 for count in numbers.values())


def _all(tasks: list[tuple[Path, int, int, float]], num_processes: int) -> Iterator[Tally]:
    if num_processes == 1:
        yield from itertools.starmap(under_kills, tasks)
        return
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as pool:
        yield from pool.map(under_kills, *zip(*tasks, strict=True))


def main() -> None:
    """Prints the figures; exit status 1 when anything is lost, doubled, changed or out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--journals", type=int, default=20, help="that the events are divided among")
    parser.add_argument("--processes", type=int, default=4, help="journals at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-s", type=float, default=1.0, help="mean life of a writer")
    arguments = parser.parse_args()
    begun, total = time.monotonic(), Tally()
    each = arguments.events // arguments.journals
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        for number in range(arguments.journals):
            place = Path(folder) / str(number)
            place.mkdir()
            tasks.append((place, each, arguments.seed * 1_000 + number, arguments.mean_s))
        for number, tally in enumerate(_all(tasks, arguments.processes)):
            total.add(tally)
            print(f"journal {number:3d}: {tally}", flush=True)  # noqa: T201
    print(  # noqa: T201
        f"{total.events:,} events in {arguments.journals} journals, {total.kills:,} kills, {total.torn:,} torn lines: "
        f"{total.lost} lost, {total.doubled} doubled, {len(total.faults)} faults; {time.monotonic() - begun:.0f} s"
    )
    for fault in total.faults[:FAULTS_SHOWN]:
        print(fault)  # noqa: T201
    sys.exit(1 if total.faults or total.lost or total.doubled else 0)


if __name__ == "__main__":
    main()
