"""The processes that train one run together: who has which clips of a batch, and what they exchange.

Encoders work on a slice of each batch; features are gathered, and from there on every process computes the same on the
whole batch: fusion, heads, objective, losses, gaps. So no method knows of processes, and each is exact. Backward
through the gather gives a process the gradient of its own slice; the encoders' gradients are summed. This module must
not know models, objectives or files.

Shapes: B clips of a batch, b of them in a process, F features.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence, Set
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

MIN_SLICE = 2
"""Clips that a process gets of a batch at least, or none: batch norm has no variance of one value."""
BUCKET_BYTES = 64 * 1024 * 1024
"""Gradients that are summed in one exchange."""
TIMEOUT = timedelta(hours=1)
"""Of an exchange. Longer than any wait for a disk: a process that hangs is the supervisor's to find."""


class World:
    """The processes of a run as one of them sees them. By default there is one: nothing is exchanged."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        """Describes a world; see `join` for one of several processes.

        Args:
            rank: of this process, 0 to size - 1; 0 writes files.
            size: processes, at least 1.
        """
        self.rank = rank
        self.size = size

    @classmethod
    def join(cls, rank: int, size: int, meeting: Path, device: torch.device) -> World:
        """Returns the world, once all processes are there.

        Args:
            rank: of this process.
            size: processes.
            meeting: a file that none of them made yet, on a disk that all see.
            device: of this process.
        """
        # The processes of a run share a machine, and nothing outside of it may join.
        loopback = "lo" if sys.platform == "linux" else "lo0"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        dist.barrier()
        return cls(rank, size)

    def leave(self) -> None:
        """Frees what `join` took."""
        if self.size > 1:
            dist.destroy_process_group()

    def counts(self, total: int) -> list[int]:
        """Returns how many of `total` clips each process has, in order; the first has the most, the last perhaps none.

        Args:
            total: clips of a batch, at least 1.
        """
        holders = max(1, min(self.size, total // MIN_SLICE))
        share, rest = divmod(total, holders)
        return [share + (rank < rest) if rank < holders else 0 for rank in range(self.size)]

    def slice(self, total: int) -> slice:
        """Returns which of `total` clips this process has.

        Args:
            total: clips of a batch, at least 1.
        """
        counts = self.counts(total)
        start = sum(counts[: self.rank])
        return slice(start, start + counts[self.rank])

    def gather(self, values: Float[Tensor, "b F"], total: int) -> Float[Tensor, "B F"]:
        """Returns the values of all processes in the batch's order; the gradient goes back to each one's own.

        Args:
            values: (b, F), float, of this process's slice.
            total: B.
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self, total)
        return gathered

    def sum_gradients(
        self,
        gradients: dict[nn.Parameter, Tensor],
        trained: Sequence[nn.Parameter],
        sliced: Set[nn.Parameter],
        total: int,
    ) -> None:
        """Makes gradients those of the whole batch, the same bits in all processes.

        Args:
            gradients: of one pass, changed in place.
            trained: all parameters that may have one, in the same order everywhere.
            sliced: those whose gradient is of the own slice alone, to be summed; others are the same everywhere but
                for rounding, and the first process's are taken.
            total: clips of the batch.
        """
        if self.size == 1:
            return
        self._agree_on_parameters(gradients, trained, total)
        bucket: list[Tensor] = []
        for parameter in trained:
            gradient = gradients.get(parameter)
            if gradient is None:
                continue
            if self.rank and parameter not in sliced:
                gradient.zero_()
            if bucket and sum(map(_num_bytes, bucket)) + _num_bytes(gradient) > BUCKET_BYTES:
                _sum(bucket)
                bucket = []
            bucket.append(gradient)
        if bucket:
            _sum(bucket)

    def _agree_on_parameters(
        self, gradients: dict[nn.Parameter, Tensor], trained: Sequence[nn.Parameter], total: int
    ) -> None:
        """Gives a process without clips zeros for the gradients that the others have."""
        if min(self.counts(total)):
            return
        present = torch.tensor([parameter in gradients for parameter in trained], dtype=torch.uint8)
        dist.broadcast(present, 0)
        for parameter, there in zip(trained, present.tolist(), strict=True):
            if there and parameter not in gradients:
                gradients[parameter] = torch.zeros_like(parameter)

    def any(self, *flags: bool) -> list[bool]:
        """Returns for each flag whether any process raised it: the same answer everywhere.

        Args:
            flags: as many in every process.
        """
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    @torch.no_grad()
    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with the first process's.

        Args:
            tensors: of the same shapes and order everywhere.
        """
        if self.size == 1:
            return
        for tensor in tensors:
            values = tensor.detach().contiguous()
            dist.broadcast(values, 0)
            if self.rank:
                tensor.copy_(values)


ALONE = World()
"""One process."""


class _Gather(torch.autograd.Function):
    """Rows of all processes; the gradient is cut to the own ones, since each computes the whole batch's loss itself."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, world: World, total: int) -> Tensor:
        ctx.own = world.slice(total)
        counts = world.counts(total)
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own], None, None


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _sum(bucket: Sequence[Tensor]) -> None:
    """Sums tensors over the processes in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    dist.all_reduce(flat)
    for tensor, values in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(values.view(tensor.shape))
