from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from streamlit.testing.v1 import AppTest

from worker.contract.spec import PRESETS, RunSpec
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES

RUN = "run-a-1"
NEEDED: dict[str, dict[str, Any]] = {
    "umt": {"audio_teacher": RUN, "visual_teacher": RUN},
    "g2d": {"audio_teacher": RUN, "visual_teacher": RUN},
    "g-blending": {"fused_run": RUN, "audio_run": RUN, "visual_run": RUN},
    "precomputed": {"features_root": "/features"},
    "torchvision": {},
}
"""Kind -> what it cannot do without."""
REGISTRIES: dict[str, dict[str, type[Any]]] = {
    "dataset": dict(DATASETS), "encoder": dict(ENCODERS), "fusion": dict(FUSIONS), "objective": dict(OBJECTIVES),
    "optimizer": dict(OPTIMIZERS), "schedule": dict(SCHEDULES),
}  # fmt: skip


def _draw_all(given: dict[str, dict[str, object]], marked: bool) -> None:
    import streamlit as st

    from frontend.ui.form import UNMARKED, Form
    from frontend.ui.schema import read
    from tests.frontend.ui.recorded import catalog

    fields = {item.name: item for item in read(catalog()["run_schema"])}
    st.session_state["made"] = {
        f"{name}.{kind}": Form(f"{name}.{kind}").draw(fields[name], document, document if marked else UNMARKED)
        for name, kinds in given.items()
        for kind, document in kinds.items()
    }


def drawn(given: dict[str, dict[str, Any]], *, marked: bool = False) -> AppTest:
    app = AppTest.from_function(_draw_all, args=(given, marked), default_timeout=60).run()
    assert not app.exception
    return app


@pytest.mark.parametrize("name", REGISTRIES)
def test_what_the_form_draws_at_first_is_the_default_of_every_kind(name: str) -> None:
    defaults: dict[str, BaseModel] = {}
    for kind, model in REGISTRIES[name].items():
        needed = NEEDED.get(kind, {"path": "/data"} if name == "dataset" and kind != "av-digits" else {})
        defaults[kind] = model.model_validate({"kind": kind, **needed})
    least = {kind: spec.model_dump(mode="json", exclude_unset=True) for kind, spec in defaults.items()}
    full = {kind: spec.model_dump(mode="json") for kind, spec in defaults.items()}
    for given in (least, full):  # what is not given takes the schema's default; what is given stays
        made = drawn({name: given}).session_state["made"]
        for kind, spec in defaults.items():
            assert TypeAdapter(type(spec)).validate_python(made[f"{name}.{kind}"]) == spec, kind


def test_nothing_of_a_spec_is_marked_as_changed_at_first() -> None:
    for preset in PRESETS:
        spec = preset.spec.model_dump(mode="json")
        given = {name: {"given": spec[name]} for name in REGISTRIES}
        app = drawn(given, marked=True)
        assert [button.label for button in app.button] == [], preset.id
        made = {name: app.session_state["made"][f"{name}.given"] for name in given}
        assert RunSpec.model_validate({**spec, **made}) == preset.spec
