"""The scores of a run: by pages, the newest first."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi, score


def names(app: AppTest) -> list[str]:
    [table] = [frame.value for frame in app.dataframe if "clip" in frame.value]
    return list(table["clip"])


def buttons(app: AppTest) -> dict[str, bool]:
    return {one.label: one.disabled for one in app.button if one.label in ("Older", "Newer")}


def test_older_scores_are_one_press_away_and_the_way_back_too(api: RecordedApi, open_page: Open) -> None:
    all_names = [f"clip {number}.mp4" for number in range(230)]
    made = score()
    api.known_scores = {
        f"score-{place}": made.model_copy(update={"id": f"score-{place}", "filename": name})
        for place, name in enumerate(all_names)
    }
    app = open_page("test_clip", run="run-1")
    assert names(app) == all_names[:100]
    assert buttons(app) == {"Newer": True, "Older": False}
    for expected in (all_names[100:200], all_names[200:]):
        app.button(key="scores_next").click().run()
        assert names(app) == expected
    assert buttons(app) == {"Newer": False, "Older": True}
    app.button(key="scores_previous").click().run()
    assert names(app) == all_names[100:200]
    api.known_scores = dict(list(api.known_scores.items())[:50])
    app.run()
    assert "These scores were deleted." in texts(app)
    app.button(key="scores_previous").click().run()
    assert names(app) == all_names[:50]
    assert not buttons(app)
