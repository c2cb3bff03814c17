"""One clip in detail: what the model sees and hears, the clips before and after it."""

from __future__ import annotations

import math

import pytest

from frontend.ui.charts.clip_contents import mel, spectrogram, spectrogram_table, waveform, waveform_table
from frontend.ui.panels.clip_contents import times_words
from frontend.ui.panels.sample import neighbours
from frontend.ui.panels.sample_grid import cards, verdicts
from tests.frontend.ui.conftest import Open
from tests.frontend.ui.recorded import RecordedApi, row
from tests.frontend.ui.test_pages import press, texts
from worker.contract.clip_contents import WaveformView
from worker.contract.errors import CorruptRecordError, MediaError


@pytest.mark.parametrize(
    ("sample_id", "expected"),
    [("a", (None, "b")), ("b", ("a", "c")), ("c", ("b", None)), ("elsewhere", (None, None))],
)
def test_neighbours_are_those_on_the_shown_page(sample_id: str, expected: tuple[str | None, str | None]) -> None:
    assert neighbours(["a", "b", "c"], sample_id) == expected


def test_cells_stand_at_their_seconds_and_mels(api: RecordedApi) -> None:
    view = api.clip_contents("d", "clip-1").spectrogram
    assert view is not None
    table = spectrogram_table(view)
    assert len(table) == 4
    last = table.iloc[-1]
    assert (last.start_s, last.end_s, last.low_hz, last.high_hz, last.level_db) == (1.25, 1.5, 500.0, 4_000.0, -10.0)
    assert last.low == mel(500)
    assert last.high > mel(4_000)  # cells reach a little under the next one
    assert last.right > last.end_s
    assert math.isclose(mel(1_000), 1_000, rel_tol=1e-3)  # the scale is made so
    linear = view.model_copy(update={"kind": "log-stft"})
    assert list(spectrogram_table(linear)["low"]) == [0.0, 0.0, 500.0, 500.0]
    drawn = spectrogram(view).to_dict()
    assert drawn["encoding"]["color"]["scale"]["domain"] == [-70.0, -10.0]
    assert drawn["encoding"]["x"]["scale"]["domain"] == [1.0, 1.5]


def test_a_waveform_is_drawn_between_its_extremes() -> None:
    view = WaveformView(edges_s=[0.0, 0.5, 1.0], low=[-0.5, -1.0], high=[0.25, 1.0])
    assert waveform_table(view).to_numpy().tolist() == [[0.0, 0.5, -0.5, 0.25], [0.5, 1.0, -1.0, 1.0]]
    assert waveform(view).to_dict()["encoding"]["y"]["scale"]["domain"] == [-1, 1]


def test_window_and_frames_are_told_in_words(api: RecordedApi) -> None:
    contents = api.clip_contents("d", "clip-1")
    assert times_words(contents) == "The model gets 1.00 to 1.50 s of the clip; frames at 1.12, 1.38 s."
    silent = contents.model_copy(update={"frame_times_s": []})
    assert times_words(silent) == "The model gets 1.00 to 1.50 s of the clip; it has no picture."


def test_the_next_clip_is_one_press_away_and_stands_in_the_address(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples", sample="clip-1")
    assert app.button(key="go_previous_clip").disabled
    app = press(app, "go_next_clip")
    assert app.query_params["sample"] == "clip-2"
    assert app.button(key="go_next_clip").disabled
    assert "The model gets 1.00 to 1.50 s" in texts(app)


def test_a_store_that_cannot_be_read_leaves_the_rest_of_the_clip(api: RecordedApi, open_page: Open) -> None:
    api.no_contents = CorruptRecordError("The store is cut off. Prepare the dataset anew.")
    app = open_page("run", run="run-1", tab="Samples", sample="clip-2")
    assert [error.value for error in app.error if "Prepare the dataset anew" in error.value]
    assert "Visual-dominant" in texts(app)


def test_the_waveform_of_a_store_of_spectrograms_is_asked_for_and_its_lack_leaves_the_spectrogram(
    api: RecordedApi, open_page: Open
) -> None:
    app = open_page("run", run="run-1", tab="Samples", sample="clip-2")
    assert ("clip_waveform", {"dataset_id": "clips", "sample_id": "clip-2"}) in api.asked
    assert {"###### Waveform", "###### Log-mel spectrogram"} <= {one.value for one in app.markdown}
    api.no_waveform = MediaError("The clip is [cut] off.")
    said = texts(open_page("run", run="run-1", tab="Samples", sample="clip-2"))
    assert "No waveform: The clip is \\[cut\\] off." in said
    assert "Log-mel spectrogram" in said


def test_a_card_has_three_verdicts_and_a_clip_that_is_gone_no_media(api: RecordedApi) -> None:
    made = row("clip-1")
    lone = made.model_copy(update={"gap": None, "predicted": made.predicted.model_copy(update={"audio": None})})
    expected = [getattr(made.predicted, name) == made.label for name in ("fused", "audio", "visual")]
    assert [verdict.is_right for verdict in verdicts(made)] == expected
    assert [verdict.is_right for verdict in verdicts(lone)][1] is None
    (card,) = cards([lone], {})
    assert (card.subtitle, card.video, card.poster) == ("no gap", None, None)
    known = {clip.sample_id: clip for clip in api.dataset_samples("clips").items}
    (card,) = cards([made], known)
    assert card.video == "https://api.example/api/v1/datasets/folder-1/samples/clip-1/media"


def test_the_choice_of_posters_comes_from_the_address(api: RecordedApi, open_page: Open) -> None:
    open_page("run", run="run-1", tab="Samples")
    assert not [name for name, _ in api.asked if name == "dataset_samples"]
    app = open_page("run", run="run-1", tab="Samples", samples_view="Posters")
    assert not app.exception
    assert [asked for name, asked in api.asked if name == "dataset_samples"] == [
        {"ids": ["clip-1", "clip-2"], "limit": 2}
    ]
