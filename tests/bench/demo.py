"""The demo's comparison over five fixed seeds: `joint` against `gmm-adaptive`, every seed shown."""

from __future__ import annotations

import statistics
from typing import Any

from tests.bench.figure import Figure
from tests.bench.running import running_stack

SEEDS = range(5)
PRESETS = {"joint": "demo-joint", "gmm-adaptive": "demo"}


def measure() -> list[Figure]:
    """Returns each run's figures on the test split, and the comparison."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in PRESETS}
    figures = []
    with running_stack() as (_, api, _):
        for seed in SEEDS:
            for method, preset in PRESETS.items():
                run = api.launch({"preset": preset, "seed": seed})
                ended = api.wait_for_state(run, {"finished"}, timeout_s=600)
                row = _figures(ended)
                found[method].append(row)
                figures.append(Figure(f"{method}, seed {seed}", _words(row)))
    for method, rows in found.items():
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        figures.append(Figure(f"{method}, mean", _words(mean)))
    pairs = list(zip(found["gmm-adaptive"], found["joint"], strict=True))
    gains = [adaptive["fused"] - joint["fused"] for adaptive, joint in pairs]
    ratio = sum(a["gap"] for a, _ in pairs) / sum(j["gap"] for _, j in pairs)
    gain = statistics.fmean(gains)
    words = f"{gain * 100:+.1f} points ({', '.join(f'{value * 100:+.1f}' for value in gains)})"
    return [
        *figures,
        Figure("fused gain of gmm-adaptive over joint", words, "+2 points", gain >= 0.02),
        Figure("mean abs. gap, share of joint's", f"{ratio:.2f}", "0.5", ratio <= 0.5),
    ]


def _figures(run: dict[str, Any]) -> dict[str, float]:
    test, probes = run["result"]["last"]["test"], run["result"]["probes"]
    return {
        **{branch: test["accuracy"][branch] for branch in ("fused", "audio", "visual")},
        "audio probe": probes["audio"],
        "visual probe": probes["visual"],
        "gap": test["mean_abs_gap"],
    }


def _words(row: dict[str, float]) -> str:
    shares = [f"{name} {value * 100:.1f}" for name, value in row.items() if name != "gap"]
    return f"{', '.join(shares)}, mean abs. gap {row['gap']:.3f}"
