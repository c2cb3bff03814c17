"""Panel: how many clips each class has in each split, and what is uneven about it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from frontend.ui import words
from frontend.ui.charts.datasets import MAX_CLASSES, class_balance, class_balance_table
from frontend.ui.charts.saving import Caption
from frontend.ui.panels import chart
from worker.contract.resources import Dataset


def balance_words(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns what is uneven, in sentences: the largest against the smallest class, classes that a split lacks.

    Args:
        counts: split -> class -> clips.
    """
    said = []
    trained = counts.get("train", {})
    if trained and len(set(trained.values())) == 1:
        said.append(f"Every class has {words.count(next(iter(trained.values())), 'training clip')}.")
    elif trained:
        largest, smallest = (pick(trained, key=lambda label: (trained[label], label)) for pick in (max, min))
        ratio = trained[largest] / max(1, trained[smallest])
        said.append(
            f"Largest training class {words.plain(largest)} ({trained[largest]:,}), smallest {words.plain(smallest)} "
            f"({trained[smallest]:,}): {ratio:.1f} to 1."
        )
    for split in ("validation", "test"):
        lacking = sorted(label for label in trained if not counts.get(split, {}).get(label))
        if split in counts and lacking:
            some = ", ".join(words.plain(label) for label in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            said.append(f"No {words.SPLITS[split]} clip of {len(lacking):,} of {len(trained):,} classes: {some}.")
    return said


def draw(item: Dataset) -> None:
    """Draws the panel.

    Args:
        item: a dataset that is ready.
    """
    st.markdown("  \n".join(balance_words(item.class_counts)))
    if (item.num_classes or 0) > MAX_CLASSES:
        st.caption(f"The {MAX_CLASSES} largest of {item.num_classes:,} classes.")
    chart.draw(
        class_balance(class_balance_table(item.class_counts)),
        key="chart_balance",
        title="Clips of each class",
        caption=Caption(f"dataset {item.id}", num_samples=item.num_samples, rule="all prepared clips"),
    )
