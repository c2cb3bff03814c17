from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.datasets.source import ClipEntry
from worker.datasets.splits import DEFAULT_SHARES, assign_splits, with_validation


def entries(labels: list[str], groups: list[str | None]) -> list[ClipEntry]:
    return [
        ClipEntry(f"clip-{k}", Path(f"{k}.mp4"), label, "train", group=group)
        for k, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]


def test_shares_hold_in_every_class() -> None:
    cut = assign_splits(entries(["a"] * 100 + ["b"] * 40, [None] * 140), DEFAULT_SHARES, seed=0)
    counts = Counter((entry.label, entry.split) for entry in cut)
    assert counts == {
        ("a", "train"): 70, ("a", "validation"): 15, ("a", "test"): 15,
        ("b", "train"): 28, ("b", "validation"): 6, ("b", "test"): 6,
    }  # fmt: skip


def test_depends_on_the_seed_and_not_on_the_order() -> None:
    clips = entries(list("abcde") * 20, [None] * 100)
    cut = {entry.sample_id: entry.split for entry in assign_splits(clips, DEFAULT_SHARES, seed=1)}
    backwards = {entry.sample_id: entry.split for entry in assign_splits(clips[::-1], DEFAULT_SHARES, seed=1)}
    other = {entry.sample_id: entry.split for entry in assign_splits(clips, DEFAULT_SHARES, seed=2)}
    assert cut == backwards
    assert cut != other


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["s1", "s2", "s3", "s4", None])), min_size=1),
    st.integers(0, 9),
)
def test_no_group_stands_in_two_splits_and_every_class_is_trained_on(
    clips: list[tuple[str, str | None]], seed: int
) -> None:
    cut = assign_splits(entries([label for label, _ in clips], [group for _, group in clips]), DEFAULT_SHARES, seed)
    places = defaultdict(set)
    for entry in cut:
        if entry.group is not None:
            places[entry.group].add(entry.split)
    assert all(len(splits) == 1 for splits in places.values())
    assert len(cut) == len(clips)


def test_single_clips_of_a_class_go_to_train() -> None:
    cut = assign_splits(entries(["a", "b", "c"], [None] * 3), DEFAULT_SHARES, seed=0)
    assert {entry.split for entry in cut} == {"train"}


def test_validation_is_cut_from_train_alone_and_only_where_there_is_none() -> None:
    clips = entries(["a", "b"] * 50, [None] * 100)
    test = [ClipEntry(f"t{k}", Path("t"), "a", "test") for k in range(10)]
    cut, done = with_validation([*clips, *test], seed=0)
    assert done
    assert Counter(entry.split for entry in cut) == {"train": 85, "validation": 15, "test": 10} or Counter(
        entry.split for entry in cut
    ) == {"train": 84, "validation": 16, "test": 10}
    again, done = with_validation(cut, seed=0)
    assert (again, done) == (cut, False)
