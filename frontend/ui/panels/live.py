"""The Live tab: the epoch that is shown, four panels, and more below."""

from __future__ import annotations

from typing import Final, Literal

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from frontend.ui import diagnosis, words
from frontend.ui import history as folding
from frontend.ui.charts import classes, gaps
from frontend.ui.charts import epochs as over_epochs
from frontend.ui.history import History, Split
from frontend.ui.panels import header, result
from frontend.ui.panels.preparation import preparation_words
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.events import EpochFinished, RunFailed
from worker.contract.resources import Run

MORE: Final[dict[str, str]] = {
    "means": "Fitted Gaussians: mean ± one standard deviation",
    "weights": "Fitted Gaussians: weights",
    "mean_gap": "Mean size of the gap",
    "flow": "Groups over epochs",
    "heat": "Gaps by epoch: the darker, the more clips",
}
SPLIT_CHOICES: Final[dict[str, Split]] = {"Validation": "validation", "Training": "train"}
MIXTURES: Final[dict[str, folding.MixtureName]] = {"Two (paper)": "mixture", "Three (signed)": "signed_mixture"}


def shown_epoch(run_id: str, newest: int) -> int:
    """Returns the epoch that the page shows: the newest while following, else the one that was chosen."""
    if st.session_state.get("live_run") != run_id:
        asked = st.query_params.get("epoch", "")
        st.session_state["live_run"] = run_id
        st.session_state["live_follow"] = not asked.isdigit()
        st.session_state["live_epoch"] = int(asked) if asked.isdigit() else newest
    if st.session_state["live_follow"]:
        st.session_state["live_epoch"] = newest
    return max(1, min(int(st.session_state["live_epoch"]), newest)) if newest else 0


def choose(epoch: int, newest: int) -> None:
    """Shows an epoch; choosing the newest follows again."""
    st.session_state["live_epoch"] = epoch
    st.session_state["live_follow"] = epoch >= newest
    if epoch >= newest:
        st.query_params.pop("epoch", None)
    else:
        st.query_params["epoch"] = str(epoch)


def draw(run: Run, history: History) -> None:
    """Draws the Live tab; called on every tick while the run is active."""
    if not history.epochs:
        _before_first_epoch(run, history)
        return
    epoch = shown_epoch(run.id, history.newest)
    split, mixture = _controls(run, history.newest, epoch)
    shown = history.at(epoch)
    assert shown is not None
    first, second = st.columns(2, gap="medium")
    with first.container(border=True, height="stretch", key="panel_histogram"):
        _histogram(run, shown, split, mixture)
    with second.container(border=True, height="stretch", key="panel_accuracies"):
        _accuracies(run, history, shown, split)
    third, fourth = st.columns(2, gap="medium")
    with third.container(border=True, height="stretch", key="panel_diagnosis"):
        _diagnosis(run, history, shown, split)
    with fourth.container(border=True, height="stretch", key="panel_correctness"):
        _correctness(run, history, shown, split)
    if run.result is not None:
        with st.container(border=True, key="panel_result"):
            result.draw(run.result)
    more = st.expander(
        "More: mixture, gaps over epochs, classes", key="live_more", on_change="rerun", icon=":material/add_chart:"
    )
    if more.open:
        with more:
            _more(run, history, shown, split, mixture)


def _before_first_epoch(run: Run, history: History) -> None:
    if isinstance(history.ended, RunFailed) or run.state in words.ENDED:
        st.info("This run ended before its first epoch was complete: there is nothing to draw.", icon=":material/info:")
        return
    waited = header.waited_dataset(run)
    if waited:
        _preparation(waited)
    else:
        st.info("The first epoch is under way. Charts appear here by themselves.", icon=":material/hourglass_empty:")
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


def _controls(run: Run, newest: int, epoch: int) -> tuple[Split, folding.MixtureName]:
    """Draws the epoch slider and the choices of split and mixture."""
    planned = run.progress.epochs
    slider, back, forth, follow, split, mixture = st.columns(
        [4.6, 0.55, 0.55, 1.9, 2.4, 3.2], vertical_alignment="bottom", gap="small"
    )
    with slider.container(key="epoch_slider"):
        if planned > 1:
            key = slider_key(epoch)
            st.slider("Epoch", 1, planned, epoch, key=key, on_change=_slid, args=(key, newest))
    _step_button(back, "back", epoch - 1, newest)
    _step_button(forth, "forth", epoch + 1, newest)
    following = bool(st.session_state["live_follow"])
    follow.button(
        "Following" if following else "Follow newest",
        key="follow_newest",
        icon=":material/update:",
        disabled=following,
        on_click=choose,
        args=(newest, newest),
        width="stretch",
        help="Show each new epoch as it comes. Moving the slider stops it.",
    )
    with split:
        chosen = st.segmented_control(
            "Split", list(SPLIT_CHOICES), default="Validation", key="live_split", required=True
        )
    with mixture:
        fit = st.segmented_control(
            "Gaussians",
            list(MIXTURES),
            default="Two (paper)",
            key="live_mixture",
            required=True,
            help="Two: the paper's mixture. Three: one Gaussian for each side and one for similar scores.",
        )
    return SPLIT_CHOICES[chosen or "Validation"], MIXTURES[fit or "Two (paper)"]


def _step_button(place: DeltaGenerator, name: Literal["back", "forth"], epoch: int, newest: int) -> None:
    """Draws a button that shows one certain epoch; as its key names that epoch, a press counted twice does no harm."""
    side, hint = ("left", "Previous epoch") if name == "back" else ("right", "Next epoch")
    place.container(key=f"epoch_{name}").button(
        "",
        icon=f":material/chevron_{side}:",
        key=f"epoch_{name}_{epoch}",
        help=hint,
        disabled=not 1 <= epoch <= newest,
        on_click=choose,
        args=(epoch, newest),
        width="stretch",
    )


def slider_key(epoch: int) -> str:
    """Returns the slider's key: another one whenever the page, and not the user, moves it.

    A browser reports the values of all its widgets with every tick. Were the page to move the slider under the same
    key, a report from before the move would look like the user dragging it back.
    """
    if st.session_state.get("slider_epoch") != epoch:
        st.session_state["slider_epoch"] = epoch
        st.session_state["slider_round"] = st.session_state.get("slider_round", 0) + 1
    return f"epoch_slider_{st.session_state['slider_round']}"


def _slid(key: str, newest: int) -> None:
    if key != f"epoch_slider_{st.session_state['slider_round']}":
        return  # Streamlit reports a slider that was just replaced once more
    epoch = int(st.session_state[key])
    st.session_state["slider_epoch"] = epoch
    choose(epoch, newest)


@st.cache_resource(max_entries=256, show_spinner=False)
def _histogram_chart(
    run_id: str, epoch: int, split: Split, mixture: folding.MixtureName, _shown: EpochFinished
) -> alt.LayerChart:
    report = folding.split_report(_shown, split)
    assert report is not None
    return gaps.gap_histogram(report, getattr(report, mixture))


def _histogram(run: Run, shown: EpochFinished, split: Split, mixture: folding.MixtureName) -> None:
    report = folding.split_report(shown, split)
    st.markdown(f"##### {words.GAP_TITLE}", help=words.GAP_HELP, anchors=False)
    if report is None or report.histogram is None:
        st.info("This run has one modality only, so there is no gap.", icon=":material/info:")
        return
    st.altair_chart(
        _histogram_chart(run.id, shown.epoch, split, mixture, shown), key="chart_histogram", width="stretch"
    )
    st.caption(diagnosis.verdict(getattr(report, mixture)))


@st.cache_resource(max_entries=128, show_spinner=False)
def _accuracy_chart(
    run_id: str, newest: int, shown: int, split: Split, epochs: int, _history: History
) -> alt.LayerChart:
    table = folding.accuracy_table(_history, split)
    return over_epochs.accuracies(table, epochs, _history.stage_boundary(), shown)


def _accuracies(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    report = folding.split_report(shown, split)
    source = words.SOURCES[report.unimodal_source] if report else ""
    hint = f"Audio and visual are read by {source}. The dashed line ends stage 1." if source else None
    st.markdown(f"##### Accuracy, {words.SPLITS[split]} split", help=hint, anchors=False)
    chart = _accuracy_chart(run.id, history.newest, shown.epoch, split, run.progress.epochs, history)
    st.altair_chart(chart, key="chart_accuracies", width="stretch")
    if report:
        values = report.accuracy
        figures = [f"{title} **{words.percent(getattr(values, name))}**" for name, title in words.MODALITIES.items()]
        st.caption(f"Epoch {shown.epoch}: " + " · ".join(figures) + f" of {words.count(report.num_samples, 'clip')}")


def _diagnosis(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    st.markdown(f"##### What epoch {shown.epoch} says", anchors=False)
    for finding in diagnosis.findings(history, shown, split):
        icon = {
            "plain": ":gray[:material/circle:]",
            "good": ":green[:material/check_circle:]",
            "watch": ":orange[:material/visibility:]",
        }
        st.markdown(f"{icon[finding.tone]} **{finding.title}**  \n{finding.text}")


def _correctness(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    st.markdown(
        "##### Right or wrong, by gap",
        help="Dominant: a gap of 0.5 or more, so the leading modality is right. Similar scores: a smaller gap, told "
        "apart by whether the fused prediction is right. The mark shows the same group at an earlier epoch.",
        anchors=False,
    )
    report = folding.split_report(shown, split)
    if report is None or report.correctness is None:
        st.info("This run has one modality only, so there is no gap.", icon=":material/info:")
        return
    before = diagnosis.reference(history, shown)
    earlier = folding.split_report(before, split) if before else None
    groups = earlier.correctness.model_dump() if earlier and earlier.correctness else None
    label = f"epoch {before.epoch}" if before else ""
    st.altair_chart(
        over_epochs.group_bars(report.correctness.model_dump(), groups, label), key="chart_groups", width="stretch"
    )
    st.caption(
        f"Of {words.count(report.num_samples, words.SPLITS[split] + ' clip')} at epoch {shown.epoch}."
        + (f" Grey marks: {label}." if before else "")
    )


def _more(run: Run, history: History, shown: EpochFinished, split: Split, mixture: folding.MixtureName) -> None:
    charts = _more_charts(run.id, history.newest, shown.epoch, split, mixture, run.progress.epochs, history)
    names = [*MORE, "classes"]
    for start in range(0, len(names), 2):
        for column, name in zip(st.columns(2, gap="medium"), names[start : start + 2], strict=True):
            with column.container(key=f"panel_{name}"):
                if name == "classes":
                    _per_class(run.id, shown.epoch, split)
                    continue
                st.markdown(f"###### {MORE[name]}", anchors=False)
                st.altair_chart(charts[name], key=f"chart_{name}", width="stretch")


@st.cache_resource(max_entries=64, show_spinner=False)
def _more_charts(
    run_id: str, newest: int, shown: int, split: Split, mixture: folding.MixtureName, planned: int, _history: History
) -> dict[str, alt.LayerChart]:
    """Returns the charts of MORE: made once an epoch, whoever looks."""
    boundary = _history.stage_boundary()
    means = folding.mixture_table(_history, split, mixture)
    return {
        "means": over_epochs.mixture_means(means, planned, boundary),
        "weights": over_epochs.mixture_weights(means, planned, boundary),
        "mean_gap": over_epochs.mean_gap(folding.gap_table(_history, split), planned, boundary, shown),
        "flow": over_epochs.groups_over_epochs(folding.group_table(_history, split), planned, boundary),
        "heat": gaps.heat_map(folding.heat_table(_history, split), planned, boundary),
    }


def _per_class(run_id: str, epoch: int, split: Split) -> None:
    st.markdown(f"###### Mean gap by class, epoch {epoch}", anchors=False)
    try:
        table: pd.DataFrame = class_table(run_id, epoch, split)
    except GapscopeError as error:
        st.caption(f"The table of classes cannot be had just now: {error.detail}")
        return
    if table.empty:
        st.caption("No table of classes for this epoch.")
        return
    st.altair_chart(classes.class_gaps(table), key="chart_classes", width="stretch")


@st.cache_data(max_entries=128, show_spinner=False)
def class_table(run_id: str, epoch: int, split: str) -> pd.DataFrame:
    """Returns the per-class table of an epoch, as the API has it (an epoch's table never changes)."""
    return classes.class_table(client().report(run_id, "classes", epoch=epoch, split=split))
