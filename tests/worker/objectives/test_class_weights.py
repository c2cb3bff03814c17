"""Every cross-entropy of every method is one that knows the run's class weights."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker import objectives
from worker.objectives.base import StepView
from worker.objectives.joint import Joint

MODULES = sorted(Path(objectives.__path__[0]).glob("*.py"))
GIVEN_BY = {"step", "view"}


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "base.py"], ids=lambda path: path.stem)
def test_no_method_computes_a_cross_entropy_of_its_own(path: Path) -> None:
    calls = [
        node.func
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("cross_entropy", "nll_loss", "CrossEntropyLoss")
    ]
    # run.cross_entropy is a figure of an earlier run.
    owners = {call.value.id for call in calls if isinstance(call.value, ast.Name)}
    assert owners <= GIVEN_BY | {"run"}


def test_the_weighted_losses_of_samples_have_the_weighted_mean() -> None:
    weights = torch.tensor([4.0, 1.0, 0.5, 0.0])
    step: StepView = step_on(tiny_model(Joint()), class_weights=weights)
    logits = step.output.fused_logits
    plain = torch.nn.functional.cross_entropy(logits, step.labels, reduction="none")
    each = weights[step.labels]
    torch.testing.assert_close(step.cross_entropy(logits), (each * plain).sum() / each.sum())
    torch.testing.assert_close(step.cross_entropies(logits).mean(), step.cross_entropy(logits))
