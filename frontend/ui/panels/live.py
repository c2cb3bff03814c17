"""The Live tab: the epoch that is shown, four panels, and more below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import streamlit as st

from frontend.ui import diagnosis, words
from frontend.ui import history as folding
from frontend.ui.charts import epochs as over_epochs
from frontend.ui.charts import gaps
from frontend.ui.charts.prepared import Prepared
from frontend.ui.charts.saving import Caption
from frontend.ui.diagnosis import Solo
from frontend.ui.history import History, MixtureName, Split
from frontend.ui.links import link
from frontend.ui.panels import chart, epoch_controls, header, live_more, result
from frontend.ui.panels.baselines import SOLO_KINDS, solo_of
from frontend.ui.panels.preparation import preparation_words
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.events import EpochFinished, SplitReport
from worker.contract.resources import Run

ONE_SIDED_SHARE: Final = 0.2
"""Share of clips with a dominant modality from which on the page offers to train against it."""
ONE_MODALITY: Final = "This run has one modality only, so there is no score gap, and nothing to compare by it."
MORE_TITLE: Final = "More: mixture, gaps over epochs, flow between groups, gradients, classes"
MORE_OF_ONE: Final = "More: gradients and loss"


def draw(run: Run, history: History) -> None:
    """Draws the Live tab; called on every tick while the run is active."""
    if not history.epochs:
        _before_first_epoch(run)
        return
    epoch = epoch_controls.shown_epoch(run.id, history.newest)
    split, mixture = epoch_controls.draw(run.progress.epochs, history, epoch)
    shown = history.at(epoch)
    assert shown is not None
    panels: dict[str, Callable[[], None]] = {
        "histogram": lambda: _histogram(run, shown, split, mixture),
        "accuracies": lambda: _accuracies(run, history, shown, split),
        "diagnosis": lambda: _diagnosis(run, history, shown, split),
        "correctness": lambda: _correctness(run, history, shown, split),
    }
    has_gaps = shown.train.histogram is not None
    names = list(panels) if has_gaps else ["accuracies", "diagnosis"]
    for start in range(0, len(names), 2):
        for column, name in zip(st.columns(2, gap="medium"), names[start : start + 2], strict=True):
            with column.container(border=True, height="stretch", key=f"panel_{name}"):
                panels[name]()
    if not has_gaps:
        st.caption(ONE_MODALITY)
    if run.result is not None:
        with st.container(border=True, key="panel_result"):
            result.draw(run.result, run.spec.dataset.protocol)
    more = st.expander(
        MORE_TITLE if has_gaps else MORE_OF_ONE,
        expanded=st.query_params.get("more") == "open",
        key="live_more",
        on_change=_remember_more,
        icon=":material/add_chart:",
    )
    if more.open:
        with more:
            live_more.draw(run, history, shown, split, mixture)


def _remember_more() -> None:
    if st.query_params.pop("more", None) is None:
        st.query_params["more"] = "open"


def _before_first_epoch(run: Run) -> None:
    waited = header.waited_dataset(run)
    if waited and run.state not in words.ENDED:
        _preparation(waited)
    else:
        header.before_first_epoch(run, "Charts")
    if run.state in words.ENDED:
        return
    first, second = st.columns(2, gap="medium")
    with first:
        st.skeleton(height=280)
    with second:
        st.skeleton(height=280)


def _preparation(dataset_id: str) -> None:
    """Draws how far the preparation is that the run waits for."""
    try:
        item = client().dataset(dataset_id)
    except GapscopeError:
        return  # the line above says what the run waits for; the next tick asks again
    st.progress(item.progress.fraction, text=f"Preparing the clips: {preparation_words(item)}")


@st.cache_resource(max_entries=64, show_spinner=False)  # of 80 KB each
def _histogram_chart(run_id: str, epoch: int, split: Split, mixture: MixtureName, _shown: EpochFinished) -> Prepared:
    report = folding.split_report(_shown, split)
    assert report is not None
    return Prepared(gaps.gap_histogram(report, getattr(report, mixture)))


def _histogram(run: Run, shown: EpochFinished, split: Split, mixture: MixtureName) -> None:
    report = folding.split_report(shown, split)
    if report is None:
        _not_evaluated(words.GAP_TITLE, shown, split)
        return
    chart.draw(
        _histogram_chart(run.id, shown.epoch, split, mixture, shown),
        key="chart_histogram",
        title=f"{words.GAP_TITLE}, {words.SPLITS[split]} split",
        caption=_caption(run, shown, split),
        hint=words.GAP_HELP,
        note=diagnosis.verdict(getattr(report, mixture)),
    )


def _not_evaluated(title: str, shown: EpochFinished, split: Split) -> None:
    st.markdown(f"##### {title}", anchors=False)
    st.info(f"The {words.SPLITS[split]} split was not evaluated at epoch {shown.epoch}.", icon=":material/info:")


def _caption(run: Run, shown: EpochFinished, split: Split) -> Caption:
    report = folding.split_report(shown, split)
    num_samples = report.num_samples if report else None
    return Caption(header.run_title(run), shown.epoch, words.SPLITS[split], num_samples)


@st.cache_resource(max_entries=128, show_spinner=False)
def _accuracy_chart(run_id: str, newest: int, shown: int, split: Split, epochs: int, _history: History) -> Prepared:
    table = folding.accuracy_table(_history, split)
    return Prepared(over_epochs.accuracies(table, epochs, _history.boundaries(), shown))


def _accuracies(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    report = folding.split_report(shown, split)
    source = words.SOURCES[report.unimodal_source] if report else ""
    hint = f"Audio and visual are read by {source}. A dashed line ends a stage." if source else None
    note = None
    if report:
        known = folding.known_accuracies(report)
        figures = [f"{words.MODALITIES[name]} **{words.percent(value)}**" for name, value in known.items()]
        note = f"Epoch {shown.epoch}: " + " · ".join(figures) + f" of {words.count(report.num_samples, 'clip')}"
    chart.draw(
        _accuracy_chart(run.id, history.newest, shown.epoch, split, run.progress.epochs, history),
        key="chart_accuracies",
        title=f"Accuracy, {words.SPLITS[split]} split",
        caption=_caption(run, shown, split),
        hint=hint,
        note=note,
    )


def _diagnosis(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    st.markdown(f"##### What epoch {shown.epoch} says", anchors=False)
    report = folding.split_report(shown, split)
    said = diagnosis.findings(history, shown, split)
    solo = solo_of(run) if report is not None and report.correctness is not None else {}
    if report is not None:
        said[1:1] = diagnosis.against_alone(report, split, solo)
    for finding in [*said, *_of_quality(run.id, shown.epoch, split)]:
        icon = {
            "plain": ":gray[:material/circle:]",
            "good": ":green[:material/check_circle:]",
            "watch": ":orange[:material/visibility:]",
        }
        st.markdown(f"{icon[finding.tone]} **{finding.title}**  \n{finding.text}")
    if report is not None and report.correctness is not None:
        _next_steps(run, report, solo)


def _next_steps(run: Run, report: SplitReport, solo: Mapping[str, Solo]) -> None:
    """Links what a reader does next: the most one-sided clips, training against the imbalance, the weak one alone."""
    with st.container(horizontal=True, key="next_steps"):
        link("run", "Open the most one-sided clips", icon=":material/grid_view:", run=run.id, tab="Samples")
        assert report.correctness is not None
        one_sided = report.correctness.audio_dominant + report.correctness.visual_dominant
        against = "gmm-adaptive"
        if run.spec.objective.kind != against and one_sided > ONE_SIDED_SHARE * report.num_samples:
            words_of = "The same data and seed with the GMM-guided adaptive loss"
            link("new_run", words_of, icon=":material/rocket_launch:", clone=run.id, objective=against)
        weak = diagnosis.weak_modality(report)
        if weak is not None and weak not in solo:
            words_of = f"{weak.capitalize()} alone: what can it reach?"
            link("new_run", words_of, icon=":material/science:", clone=run.id, objective=SOLO_KINDS[weak])


def _of_quality(run_id: str, epoch: int, split: Split) -> list[diagnosis.Finding]:
    """Returns what the API counted of the clips' quality; nothing while it does not answer."""
    try:
        return _counted(run_id, epoch, split)
    except GapscopeError:
        return []


@st.cache_data(max_entries=256, show_spinner=False)
def _counted(run_id: str, epoch: int, split: Split) -> list[diagnosis.Finding]:
    return diagnosis.counted(client().report(run_id, "diagnosis", epoch=epoch, split=split))


@st.cache_resource(max_entries=256, show_spinner=False)
def _groups_chart(
    run_id: str, epoch: int, split: Split, label: str, _shown: EpochFinished, _before: EpochFinished | None
) -> Prepared:
    now, earlier = (folding.split_report(event, split) if event else None for event in (_shown, _before))
    assert now is not None
    assert now.correctness is not None
    groups = earlier.correctness.model_dump() if earlier and earlier.correctness else None
    return Prepared(over_epochs.group_bars(now.correctness.model_dump(), groups, label))


def _correctness(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    title = "Right or wrong, by gap"
    report = folding.split_report(shown, split)
    if report is None or report.correctness is None:
        _not_evaluated(title, shown, split)
        return
    before = diagnosis.reference(history, shown)
    label = f"epoch {before.epoch}" if before else ""
    chart.draw(
        _groups_chart(run.id, shown.epoch, split, label, shown, before),
        key="chart_groups",
        title=title,
        caption=_caption(run, shown, split),
        hint="Dominant: a gap of 0.5 or more, so the leading modality is right. Similar scores: a smaller gap, told "
        "apart by whether the fused prediction is right. The mark shows the same group at an earlier epoch.",
        note=f"Of {words.count(report.num_samples, words.SPLITS[split] + ' clip')} at epoch {shown.epoch}."
        + (f" Grey marks: {label}." if before else ""),
    )
