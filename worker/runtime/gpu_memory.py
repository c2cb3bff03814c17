"""How much memory the GPUs of a worker have, asked of the driver's own library: the main process has no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

LIBRARY: Final = "libnvidia-ml.so.1"
_DONE: Final = 0


class _Memory(ctypes.Structure):
    """NVML's nvmlMemory_t: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_memory_bytes(devices: Sequence[int], library: str = LIBRARY) -> int | None:
    """Returns the memory of the smallest of some GPUs: a run that fits it fits each; None where it cannot be told.

    Args:
        devices: their numbers; empty: all of the machine.
        library: of the driver (NVML).
    """
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != _DONE:
            return None
    except (OSError, AttributeError):
        return None
    try:
        totals = [_total_bytes(nvml, device) for device in devices or range(_count(nvml))]
    except AttributeError:  # a library without these functions
        return None
    finally:
        nvml.nvmlShutdown()
    known = [total for total in totals if total is not None]
    return min(known) if known and len(known) == len(totals) else None


def _count(nvml: ctypes.CDLL) -> int:
    count = ctypes.c_uint(0)
    return count.value if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == _DONE else 0


def _total_bytes(nvml: ctypes.CDLL, device: int) -> int | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(device), ctypes.byref(handle)) != _DONE:
        return None
    return int(memory.total) if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == _DONE else None
