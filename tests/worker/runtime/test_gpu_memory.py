"""The memory of GPUs by the driver's library, of which a small one with the same functions stands in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from worker.contract.settings import Settings
from worker.runtime.beat import WorkerBeat
from worker.runtime.gpu_memory import gpu_memory_bytes

DRIVER = """
typedef struct { unsigned long long total, free, used; } memory;
static const unsigned long long totals[] = {80ull << 30, 24ull << 30, 40ull << 30};
int nvmlInit_v2(void) { return FAILS; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  if (index > 2) return 2;
  *handle = (void *)&totals[index];
  return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *found) {
  found->total = *(unsigned long long *)handle;
  return 0;
}
"""


def driver(folder: Path, fails: int = 0) -> str:
    source, library = folder / "driver.c", folder / "driver.so"
    source.write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", f"-DFAILS={fails}", "-o", library, source], check=True)
    return str(library)


@pytest.mark.parametrize(
    ("devices", "expected"), [((), 24 << 30), ((0,), 80 << 30), ((0, 2), 40 << 30), ((0, 7), None)]
)
def test_the_smallest_of_a_workers_gpus_counts(tmp_path: Path, devices: Sequence[int], expected: int | None) -> None:
    assert gpu_memory_bytes(devices, driver(tmp_path)) == expected


def test_without_a_driver_or_with_one_that_fails_nothing_is_told(tmp_path: Path) -> None:
    assert gpu_memory_bytes((), str(tmp_path / "none.so")) is None
    assert gpu_memory_bytes((), driver(tmp_path, fails=9)) is None
    assert gpu_memory_bytes((), "libm.so.6") is None


def test_a_worker_on_a_cpu_says_no_device_memory(tmp_path: Path) -> None:
    beat = WorkerBeat(Settings(home=tmp_path), "train@here", "train", lambda: None)._now()
    if beat.devices == ["cpu"]:
        assert beat.device_memory_bytes is None
    else:
        assert beat.device_memory_bytes is not None
