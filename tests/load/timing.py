"""What became of many calls: durations by kind, errors, how late events came; percentiles of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.figure import Figure

P95_MS = 100.0
LAG_S = 1.0


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least `share` of all values do not exceed; NaN where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Timings:
    """Everything that was measured by the clients."""

    calls_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Kind of call -> how long each took, failed ones included."""
    lags_s: list[float] = field(default_factory=list)
    """From an event's own time to its arrival at each follower."""
    scored_s: list[float] = field(default_factory=list)
    """From the upload of a clip to its scores."""
    late_ms: list[float] = field(default_factory=list)
    """By how much the clients' own loop was late: part of every other figure, and not the server's."""
    errors: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Begins anew; errors count from the start."""
        self.calls_ms.clear()
        for found in (self.lags_s, self.scored_s, self.late_ms):
            found.clear()

    @property
    def all_ms(self) -> list[float]:
        """All durations, whatever the kind."""
        return [one for found in self.calls_ms.values() for one in found]

    def figures(self, seconds: float) -> list[Figure]:
        """Returns what the report says of them.

        Args:
            seconds: for which the clients were at work.
        """
        calls = self.all_ms
        rows = [_durations(f"all calls, {len(calls) / seconds:.0f} a second", calls, bound=True)]
        rows += [_durations(kind, found, bound=True) for kind, found in sorted(self.calls_ms.items())]
        rows.append(
            Figure("errors", f"{len(self.errors)} of {len(calls):,} calls", "0", not self.errors),
        )
        late = percentile(self.lags_s, 1.0)
        rows.append(
            Figure(
                f"SSE: an event's time to its arrival ({len(self.lags_s):,} arrivals)",
                f"median {percentile(self.lags_s, 0.5):.3f} s, p95 {percentile(self.lags_s, 0.95):.3f} s, "
                f"worst {late:.3f} s",
                f"{LAG_S:g} s",
                late <= LAG_S,
            )
        )
        rows.append(
            Figure(
                f"upload to scores ({len(self.scored_s)} clips)",
                f"median {percentile(self.scored_s, 0.5):.2f} s, p95 {percentile(self.scored_s, 0.95):.2f} s",
            )
        )
        rows.append(_durations("the clients' own delay, within all of these", self.late_ms, bound=False))
        return rows


def _durations(what: str, found: Sequence[float], *, bound: bool) -> Figure:
    p50, p95, p99 = (percentile(found, share) for share in (0.5, 0.95, 0.99))
    said = f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms of {len(found):,}"
    return Figure(what, said, f"p95 {P95_MS:.0f} ms", p95 < P95_MS) if bound else Figure(what, said)
