"""What the Live tab shows: the epoch, which follows the newest until it is touched, the split, the mixture."""

from __future__ import annotations

from typing import Final, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from frontend.ui.history import History, MixtureName, Split, split_report

SPLIT_CHOICES: Final[dict[str, Split]] = {"Validation": "validation", "Training": "train", "Test": "test"}
MIXTURES: Final[dict[str, MixtureName]] = {"Two (paper)": "mixture", "Three (signed)": "signed_mixture"}


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


def draw(planned: int, history: History, epoch: int, *, with_mixture: bool = True) -> tuple[Split, MixtureName]:
    """Draws the epoch slider and the choices of split and mixture, and returns these.

    Args:
        planned: epochs of the run.
        history: the run so far.
        epoch: that is shown.
        with_mixture: whether there is a fit to choose.
    """
    newest = history.newest
    slider, back, forth, follow, split, mixture = st.columns(
        [4.3, 0.55, 0.55, 1.35, 2.9, 3.2], vertical_alignment="bottom", gap="small"
    )
    with slider.container(key="epoch_slider"):
        if planned > 1:
            key = slider_key(epoch)
            st.slider("Epoch", 1, planned, epoch, key=key, on_change=_slid, args=(key, newest))
    _step_button(back, "back", epoch - 1, newest)
    _step_button(forth, "forth", epoch + 1, newest)
    st.session_state["follow_switch"] = bool(st.session_state["live_follow"])
    follow.toggle(
        "Follow",
        key="follow_switch",
        on_change=_switched,
        args=(epoch, newest),
        help="Show each new epoch as it comes. Moving the slider stops it.",
    )
    return _split(split, history), _mixture(mixture, history) if with_mixture else "mixture"


def _split(place: DeltaGenerator, history: History) -> Split:
    last = history.epochs[-1]
    there = [title for title, name in SPLIT_CHOICES.items() if split_report(last, name) is not None]
    with place:
        chosen = st.segmented_control(
            "Split", there, default=there[0], key="live_split", required=True, bind="query-params"
        )
    return SPLIT_CHOICES[chosen or there[0]]


def _mixture(place: DeltaGenerator, history: History) -> MixtureName:
    """Draws the choice of fit; a run on one modality has no gaps, so nothing is fitted."""
    if history.epochs[-1].train.histogram is None:
        return "mixture"
    titles = list(MIXTURES)
    with place:
        fit = st.segmented_control(
            "Gaussians",
            titles,
            default=titles[0],
            key="live_mixture",
            required=True,
            bind="query-params",
            help="Two: the paper's mixture. Three: one Gaussian for each side and one for similar scores.",
        )
    return MIXTURES[fit or titles[0]]


def _switched(epoch: int, newest: int) -> None:
    if st.session_state["follow_switch"]:
        choose(newest, newest)
        return
    st.session_state["live_epoch"], st.session_state["live_follow"] = epoch, False
    st.query_params["epoch"] = str(epoch)


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
