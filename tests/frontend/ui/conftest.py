from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from frontend.ui import service
from tests.frontend.ui.recorded import DeadApi, RecordedApi

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A page's script takes the place of __main__, which processes spawned by later tests would run again.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("GAPSCOPE_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GAPSCOPE_PUBLIC_URL", "https://api.example")
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> RecordedApi:
    recorded = RecordedApi()
    monkeypatch.setattr(service, "GapscopeClient", lambda *_, **__: recorded)
    return recorded


@pytest.fixture
def dead_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "GapscopeClient", lambda *_, **__: DeadApi())


def _script(name: str) -> None:
    import importlib

    from frontend.ui.service import guarded

    guarded(importlib.import_module(f"frontend.ui.views.{name}").page)()


@pytest.fixture
def open_page() -> Open:
    """Opens a page as a browser would: by its name and query parameters."""

    def opened(name: str, **parameters: str) -> AppTest:
        app = AppTest.from_function(_script, args=(name,), default_timeout=60)
        for key, value in parameters.items():
            app.query_params[key] = value
        return app.run()

    return opened


def texts(app: AppTest) -> str:
    """Returns all that a page says."""
    kinds: tuple[Any, ...] = (app.title, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning)
    said = [element.value for kind in kinds for element in kind]
    said += [f"{metric.label}: {metric.value}" for metric in app.metric]
    return "\n".join(str(one) for one in said).replace("\u00a0", " ")
