"""Poster, frames and sound of a clip over HTTP, from a store whose arrays are known."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from backend.png import png
from backend.spectra import MAX_BINS, MAX_STEPS, log_mel, spectrogram_view
from tests.backend.conftest import Backend, serving, settings_for
from tests.backend.folders import write_arrays, write_dataset
from tests.conftest import ValkeyServer
from worker.contract.layout import Home
from worker.contract.spec.preprocess import PreprocessSpec

COUNT = 8
LOG_MEL = PreprocessSpec(
    duration_s=0.5, sample_rate_hz=8_000, num_mels=32, fft_samples=256, hop_samples=128, num_frames=3, frame_size=320,
    crop_size=320,
)  # fmt: skip
WAVEFORM = LOG_MEL.model_copy(update={"audio_storage": "waveform"})


def fill(home: Home, dataset_id: str, spec: PreprocessSpec) -> tuple[np.ndarray, np.ndarray]:
    """Writes a dataset whose arrays are there; returns frames and sound."""
    write_dataset(home, count=COUNT, dataset_id=dataset_id)
    return write_arrays(home, dataset_id, spec)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[tuple[Backend, Any]]:
    """A server on two datasets, one with spectrograms and one with waveforms, and their arrays."""
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(tmp_path_factory.mktemp("contents") / "home")
    home.create()
    arrays = {"mel": fill(home, "mel", LOG_MEL), "wave": fill(home, "wave", WAVEFORM)}
    with serving(settings_for(home.path, url)) as running:
        yield running, arrays


def picture(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


@pytest.mark.parametrize("shape", [(5, 7, 3), (4, 3), (1, 1, 3)])
def test_a_png_holds_the_array(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)


def test_the_poster_is_the_middle_frame_made_small_and_is_not_sent_twice(served: tuple[Backend, Any]) -> None:
    backend, arrays = served
    response = backend.http.get("/datasets/mel/samples/clip-000003/poster")
    frame = arrays["mel"][0][3, 1]
    assert np.array_equal(picture(response), frame.reshape(160, 2, 160, 2, 3).mean(axis=(1, 3)).round())
    known = {"If-None-Match": response.headers["etag"]}
    assert backend.http.get("/datasets/mel/samples/clip-000003/poster", headers=known).status_code == 304
    assert backend.http.get("/datasets/mel/samples/clip-000004/poster", headers=known).status_code == 200


def test_the_strip_has_every_frame_in_its_order_and_the_contents_say_when(served: tuple[Backend, Any]) -> None:
    backend, arrays = served
    strip = picture(backend.http.get("/datasets/mel/samples/clip-000002/frames"))
    frames = arrays["mel"][0][2][:, :318, :318].reshape(3, 106, 3, 106, 3, 3).mean(axis=(2, 4)).round()
    assert np.array_equal(strip, np.concatenate(list(frames), axis=1))
    contents = backend.get("/datasets/mel/samples/clip-000002/contents")
    assert contents["frame_times_s"] == [0.083, 0.25, 0.417]
    assert (contents["start_s"], contents["duration_s"]) == (0.0, 0.5)


def test_levels_are_those_of_the_store_in_decibel(served: tuple[Backend, Any]) -> None:
    backend, arrays = served
    contents = backend.get("/datasets/mel/samples/clip-000001/contents")
    assert contents["waveform"] is None
    view, stored = contents["spectrogram"], arrays["mel"][1][1].astype(float)
    assert view["kind"] == "log-mel"
    assert np.allclose(view["levels_db"], 10 * np.log10(np.exp(stored)), atol=0.06)
    assert len(view["edges_s"]) == stored.shape[1] + 1
    assert view["edges_s"][-1] <= 0.5
    assert np.all(np.diff(view["edges_hz"]) > 0)


def test_a_stored_waveform_comes_as_extremes_and_as_the_spectrogram_of_training(served: tuple[Backend, Any]) -> None:
    import torch

    from worker.media.spectrogram import Spectrogram

    backend, arrays = served
    contents = backend.get("/datasets/wave/samples/clip-000005/contents")
    stored = arrays["wave"][1][5] / 32_767
    assert (min(contents["waveform"]["low"]), max(contents["waveform"]["high"])) == pytest.approx(
        (stored.min(), stored.max()), abs=6e-4
    )
    trained = Spectrogram(WAVEFORM).make(torch.from_numpy(stored.astype(np.float32))[None])[0].numpy()
    assert np.allclose(log_mel(stored, WAVEFORM), trained, atol=2e-3)
    assert np.allclose(contents["spectrogram"]["levels_db"], 10 * np.log10(np.exp(trained)), atol=0.1)


def test_where_spectrograms_are_stored_the_waveform_is_that_of_the_clip_and_is_decoded_once(
    served: tuple[Backend, Any],
) -> None:
    backend, _ = served
    sound = np.random.default_rng(1).integers(-20_000, 20_000, 4_000).astype(np.int16)
    with wave.open(str(backend.home.dataset("mel").clips / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    view = backend.get("/datasets/mel/samples/clip-000000/waveform")
    cuts = np.linspace(0, 4_000, 321).astype(int)
    assert np.allclose(view["edges_s"], cuts / 8_000, atol=1e-4)
    assert np.allclose(view["low"], np.minimum.reduceat(sound, cuts[:-1]) / 32_767, atol=1e-3)
    assert np.allclose(view["high"], np.maximum.reduceat(sound, cuts[:-1]) / 32_767, atol=1e-3)
    [made] = (backend.home.path / "derived").iterdir()
    made.write_bytes(bytes(8_000))  # what was made is read again
    assert set(backend.get("/datasets/mel/samples/clip-000000/waveform")["high"]) == {0.0}


def test_a_stored_waveform_is_not_decoded_and_one_that_cannot_be_is_told(served: tuple[Backend, Any]) -> None:
    backend, _ = served
    stored = backend.get("/datasets/wave/samples/clip-000003/contents")["waveform"]
    assert backend.get("/datasets/wave/samples/clip-000003/waveform") == stored
    no_film = backend.http.get("/datasets/mel/samples/clip-000001/waveform")
    backend.problem(no_film, 422, "media-not-decodable")


def test_a_long_spectrogram_is_binned_by_mean_power() -> None:
    spec = PreprocessSpec(duration_s=10.0, num_mels=128)
    view = spectrogram_view(np.full(spec.stored_audio_shape, -4.0, np.float16), spec, start_s=2.5)
    assert np.shape(view.levels_db) == (MAX_BINS, MAX_STEPS)
    assert np.allclose(view.levels_db, -4 * 10 / np.log(10), atol=0.06)
    assert (view.edges_s[0], view.edges_s[-1]) == (2.5, 12.5)


def test_a_tone_stands_at_its_frequency_and_time() -> None:
    spec = PreprocessSpec(duration_s=1.0, audio_storage="waveform")
    seconds = np.arange(spec.num_samples) / spec.sample_rate_hz
    tone = np.where(seconds >= 0.5, np.sin(2 * np.pi * 1_000 * seconds), 0) * 20_000
    view = spectrogram_view(tone.astype(np.int16), spec, start_s=0.0)
    bin_, step = np.unravel_index(np.argmax(view.levels_db), np.shape(view.levels_db))
    assert view.edges_hz[bin_] <= 1_000 <= view.edges_hz[bin_ + 1]
    assert view.edges_s[step] >= 0.48


def test_signed_addresses_open_their_own_picture_and_stay_the_same_for_a_while(served: tuple[Backend, Any]) -> None:
    backend, _ = served
    media = [backend.get("/datasets/mel/samples", limit=2)["items"][0]["media"] for _ in range(2)]
    assert media[0] == media[1]  # but at the turn of ten minutes: then a player would begin anew, once
    url = httpx.URL(backend.url).join(media[0]["poster"])
    assert httpx.get(url).status_code == 200
    stolen = url.copy_with(path=url.path.replace("/poster", "/frames"))
    backend.problem(httpx.get(stolen), 403, "bad-signature")


def test_a_store_that_is_cut_off_is_told_as_such(served: tuple[Backend, Any]) -> None:
    backend, _ = served
    fill(backend.home, "cut", LOG_MEL)
    store = backend.home.dataset("cut").store
    (store / "frames.u8").write_bytes(b"\0" * 10)
    backend.problem(backend.http.get("/datasets/cut/samples/clip-000000/poster"), 500, "record-corrupt")


def test_a_clip_that_is_not_there_is_404(served: tuple[Backend, Any]) -> None:
    backend, _ = served
    for name in ("poster", "frames", "contents"):
        backend.problem(backend.http.get(f"/datasets/mel/samples/..%2F..%2Fx/{name}"), 404, "sample-not-found")


@pytest.mark.parametrize("path", ["", "/clip-000000/poster", "/clip-000000/contents", "/clip-000000/media", "/export"])
def test_a_dataset_that_is_not_there_is_404_by_its_own_code(served: tuple[Backend, Any], path: str) -> None:
    answer = served[0].http.get("/datasets/none" + (path if path == "/export" else f"/samples{path}"))
    served[0].problem(answer, 404, "dataset-not-found")
