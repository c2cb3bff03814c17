"""Documentation that lags behind the code fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.file_list import PACKAGES, README, ROOT, purpose, with_list
from worker.contract.settings import Settings
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES

DOCS = ROOT / "docs"


def test_readme_lists_every_file_with_its_purpose() -> None:
    text = README.read_text()
    assert text == with_list(text), "run: .venv/bin/python -m tests.file_list"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(package: str) -> None:
    modules = [path for path in (ROOT / package).rglob("*.py") if path.read_text().strip()]
    assert [str(path) for path in modules if not purpose(path)] == []


@pytest.mark.parametrize("kind", [*OBJECTIVES])
def test_every_method_is_documented(kind: str) -> None:
    assert f"`{kind}`" in (DOCS / "methods.md").read_text()


@pytest.mark.parametrize("kind", [*DATASETS])
def test_every_dataset_is_documented(kind: str) -> None:
    assert f"`{kind}`" in (DOCS / "datasets.md").read_text()


@pytest.mark.parametrize("kind", [*ENCODERS, *FUSIONS])
def test_every_encoder_and_fusion_is_documented(kind: str) -> None:
    assert f"`{kind}`" in (DOCS / "models.md").read_text()


@pytest.mark.parametrize("name", [*Settings.settings_names(), "GAPSCOPE_API_URL"])
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "settings.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    for path in [README, *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


def test_tests_named_in_the_reliability_table_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "reliability.md").read_text()))
    files = [*Path(ROOT / "tests").rglob("test_*.py"), *Path(ROOT / "tests" / "faults").glob("long_*.py")]
    written = "\n".join(path.read_text() for path in files)
    assert named
    assert [name for name in named if f"def {name}(" not in written] == []
