"""From cells to rows, and from rows to Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontend.leaderboard.document import Facts, markdown, update, with_section
from frontend.leaderboard.figures import Cost, Entry
from frontend.leaderboard.planted import PlantedSample, planted_report
from frontend.leaderboard.summary import board_of
from tests.frontend.leaderboard.values import entry
from worker.contract.resources import ResolvedSpec

RESOLVED = ResolvedSpec(
    dataset_id="d",
    store_digest="store-1",
    device="cpu",
    precision="fp32",
    memory_format="contiguous",
    threads=1,
    deterministic=True,
    versions={"torch": "2.14.1"},
    processor="A processor",
    git_revision="abc123",
)
FACTS = Facts("digits", {"epochs": 3}, [RESOLVED], "2026-11-24", "gapscope bench methods")


def entries(num_seeds: int = 2) -> list[Entry]:
    return [
        *(entry("joint", seed, 0.80 + 0.01 * seed) for seed in range(num_seeds)),
        *(entry("better", seed, 0.85 + 0.02 * seed, cost=Cost(30.0, backward_passes=300)) for seed in range(num_seeds)),
        *(entry("multi-head", seed, 0.7, cost=Cost(15.0)) for seed in range(num_seeds)),
    ]


def test_methods_are_ranked_by_their_mean_and_compared_with_joint_pair_by_pair() -> None:
    board = board_of(entries())
    assert [row.method for row in board.rows] == ["better", "joint", "multi-head"]
    better, joint = board.rows[0], board.rows[1]
    difference = better.differences["fused"]
    assert difference is not None
    assert (difference.num_pairs, difference.mean) == (2, pytest.approx(0.055))
    assert joint.differences == {}
    assert joint.holm_p is None
    assert board.family == 2
    weaker = board.rows[2].differences["fused"]
    assert difference.p_value is not None
    assert weaker is not None
    assert weaker.p_value is not None
    assert weaker.p_value < difference.p_value
    assert board.rows[2].holm_p == pytest.approx(2 * weaker.p_value)
    assert better.holm_p == pytest.approx(max(2 * weaker.p_value, difference.p_value))


def test_cost_is_relative_to_joint_in_passes_and_to_multi_head_in_time() -> None:
    better, joint, multi_head = board_of(entries()).rows
    assert (better.passes, better.time) == (pytest.approx(3.0), pytest.approx(2.0))
    assert (joint.passes, joint.time) == (pytest.approx(1.0), pytest.approx((10 / 15 + 11 / 15) / 2))
    assert (multi_head.passes, multi_head.time) == (None, 1.0)


def test_failed_cell_is_shown_with_its_reason_and_leaves_the_other_seeds_compared() -> None:
    failed = Entry("better", 1, "run-x", failure="loss | not finite\nepoch 2 [non-finite]")
    board = board_of([one for one in entries() if (one.method, one.seed) != ("better", 1)] + [failed])
    better = next(row for row in board.rows if row.method == "better")
    assert better.seeds == (0,)
    assert better.holm_p is None
    assert board.family == 1
    text = markdown(board, FACTS)
    assert "| `better` | 1 | run-x | loss \\| not finite epoch 2 [non-finite] |" in text
    assert "5 finished runs, 1 failed" in text


def test_every_seed_the_family_the_rule_and_the_machine_are_printed() -> None:
    text = markdown(board_of(entries()), FACTS)
    for words in (
        "seeds 0, 1",
        "test, n = 600",
        "last epoch",
        "chosen by validation",
        "shown family of 2",
        "A processor (cpu, fp32, 1 threads)",
        "torch 2.14.1",
        "commit: abc123",
        "store store-1",
        '`{"epochs": 3}`',
        "| `joint` | 1 | 81.0 |",
        "+5.5 [",
    ):
        assert words in text, words


def test_under_five_seeds_it_is_exploratory() -> None:
    assert "Exploratory: under 5 seeds" in markdown(board_of(entries(4)), FACTS)
    assert "Exploratory" not in markdown(board_of(entries(5)), FACTS)


def test_runs_on_other_data_or_of_other_commits_are_named() -> None:
    other = RESOLVED.model_copy(update={"store_digest": "store-2", "git_revision": None})
    text = markdown(board_of(entries()), Facts("digits", {}, [RESOLVED, other], "2026-11-24", "x"))
    assert "not comparable" in text
    assert "several commits" in text


def test_planted_corruption_is_shown_where_the_data_has_it() -> None:
    report = planted_report([PlantedSample("none", 0.0, 0.1), PlantedSample("audio", -1.0, 0.9)])
    text = markdown(board_of([entry("joint", 0, 0.8, planted=report), entry("joint", 1, 0.8)]), FACTS)
    assert "1 clips lost their sound" in text
    assert "| `joint` | 0 | 1.000 | - | 0.10 / 0.90 / - | 0.00 / 1.00 / - | 0.100 |" in text
    assert "100.0 (1; r 0.90)" in text
    assert "Planted" not in markdown(board_of(entries()), FACTS)


def test_section_is_replaced_and_its_neighbours_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "board.md"
    update(path, "one", "first \\1\n")
    update(path, "two", "second\n")
    update(path, "one", "third \\1\n")
    text = path.read_text()
    assert "first" not in text
    assert text.index("third \\1") < text.index("second")
    assert text.startswith("# Leaderboard")
    assert with_section(text, "two", "second\n") == text
