"""Dotted overrides of a spec."""

from __future__ import annotations

from typing import Any

import click
import pytest

from frontend.cli import overrides

BASE: dict[str, Any] = {
    "epochs": 20,
    "objective": {"kind": "gmm-adaptive", "warm_up_epochs": 2},
    "dataset": {"kind": "av-digits", "seed": 0, "preprocess": {"num_mels": 32, "num_frames": 2}},
}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("epochs=10", ["epochs"], 10),
        ("objective.kind=joint", ["objective", "kind"], "joint"),
        ("augment=false", ["augment"], False),
        ("name=a=b", ["name"], "a=b"),
        ("name=null", ["name"], None),
        ('tags=["a", "b"]', ["tags"], ["a", "b"]),
        ("dataset.path=/data/clips", ["dataset", "path"], "/data/clips"),
    ],
)
def test_value_is_json_where_it_is_json(text: str, path: list[str], value: object) -> None:
    assert overrides.parse(text) == (path, value)


@pytest.mark.parametrize("text", ["epochs", "=3", "objective.=3", ".kind=x"])
def test_text_that_is_no_override_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="key=value"):
        overrides.parse(text)


def test_only_touched_fields_come_back_each_complete() -> None:
    changes = overrides.apply(BASE, ["epochs=5", "dataset.preprocess.num_mels=64"])
    assert changes == {
        "epochs": 5,
        "dataset": {"kind": "av-digits", "seed": 0, "preprocess": {"num_mels": 64, "num_frames": 2}},
    }
    assert BASE["dataset"]["preprocess"]["num_mels"] == 32


def test_another_kind_begins_anew_in_whatever_order_it_is_given() -> None:
    wanted = {"objective": {"kind": "joint", "x": 1}}
    assert overrides.apply(BASE, ["objective.kind=joint", "objective.x=1"]) == wanted
    assert overrides.apply(BASE, ["objective.x=1", "objective.kind=joint"]) == wanted


def test_the_same_kind_keeps_its_fields() -> None:
    changes = overrides.apply(BASE, ["objective.kind=gmm-adaptive", "objective.warm_up_epochs=1"])
    assert changes == {"objective": {"kind": "gmm-adaptive", "warm_up_epochs": 1}}


def test_a_later_override_wins() -> None:
    assert overrides.apply(BASE, ["epochs=1", "epochs=2"]) == {"epochs": 2}
