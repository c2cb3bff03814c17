"""Makers that misbehave in a decoder process, in place of a clip that breaks a codec."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def hang(path: Path, recipe: str) -> None:
    time.sleep(600)


def die(path: Path, recipe: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def burn(path: Path, recipe: str) -> None:
    while True:
        pass


def eat(path: Path, recipe: str) -> None:
    _ = bytearray(3 * 1024**3)


def fill_the_disk(path: Path, recipe: str) -> None:
    with path.open("wb") as file:
        file.truncate(2 * 1024**3)


def show_environment(path: Path, recipe: str) -> None:
    Path(recipe).write_text("\n".join(f"{name}={value}" for name, value in os.environ.items()))


def print_noise(path: Path, recipe: str) -> None:
    os.write(1, b'{"error": {"code": "forged", "detail": "printed by a codec"}}\n')
