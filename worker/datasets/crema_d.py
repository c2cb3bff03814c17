"""CREMA-D: AudioWAV/<clip>.wav beside VideoFlash/<clip>.flv, or beside Image-01-FPS/<clip>/*.jpg.

clip = <speaker>_<sentence>_<emotion>_<level>. The lists of the imbalance papers have lines of clip,LABEL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from worker.contract.resources import SkippedClip
from worker.contract.spec.corpora import CREMA_D_EMOTIONS, CremaD
from worker.datasets.corpus import Row, corpus_listing, names_in, require_places, unlisted_warnings
from worker.datasets.lists import first_of, read_lines, refuse_lines
from worker.datasets.source import ClipEntry, DatasetListing

_NAME = re.compile(r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2})")
_FORM = "clip,LABEL"


class CremaDDataset:
    """CREMA-D in its official layout or with its frames as JPEG folders."""

    def __init__(self, spec: CremaD) -> None:
        """Keeps the spec."""
        self._spec = spec
        self._root = Path(spec.path)
        self._audio = self._root / spec.audio_folder
        frames = spec.layout == "frames"
        self._suffix = "" if frames else ".flv"
        self._visual = self._root / (spec.visual_folder or ("Image-01-FPS" if frames else "VideoFlash"))

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips: under honest those in the folders, under paper those in the lists.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-layout-incomplete, dataset-bad-list, dataset-unknown-label, and
                those of corpus_listing.
        """
        lists = self._lists() if self._spec.protocol == "paper" else {}
        places = [
            (self._audio, "folder of <clip>.wav"),
            (self._visual, f"folder of <clip>{self._suffix or '/*.jpg'}"),
            *((path, f"{split} list, lines of {_FORM}") for split, path in lists.items()),
        ]
        require_places(self._root, places)
        return self._listed(lists) if lists else self._found()

    def _lists(self) -> dict[str, Path]:
        chosen = {
            "train": self._spec.train_list,
            "validation": self._spec.validation_list,
            "test": self._spec.test_list,
        }
        return {split: self._root / name for split, name in chosen.items() if name}

    def _found(self) -> DatasetListing:
        """Returns what lies in the folders, speakers apart."""
        names = sorted({*names_in(self._audio, ".wav"), *names_in(self._visual, self._suffix)})
        rows, skipped = [], []
        for name in names:
            match = _NAME.fullmatch(name)
            if match and match["emotion"] in CREMA_D_EMOTIONS:
                rows.append(Row(self._entry(match, match["emotion"], ""), f"{self._audio.name}"))
            else:
                reason = "Expected a name of <speaker>_<sentence>_<emotion>_<level>, as 1001_DFA_ANG_XX."
                path = str(self._audio / f"{name}.wav")
                skipped.append(SkippedClip(sample_id=name, path=path, code="not-a-clip", reason=reason))
        return corpus_listing(self._spec, CREMA_D_EMOTIONS, rows, group_word="speaker", skipped=skipped, cut_anew=True)

    def _listed(self, lists: dict[str, Path]) -> DatasetListing:
        """Returns what the lists name, in their splits."""
        rows = [row for split, path in lists.items() for row in self._rows(split, path)]
        other = [row.entry.sample_id for row in rows if "emotion_in_name" in row.entry.notes]
        warnings = unlisted_warnings(self._visual, self._suffix, (row.entry.sample_id for row in rows))
        if other:
            warnings.append(
                f"{len(other):,} clips have another label than their name says (noted): {first_of(other[:3])}."
            )
        return corpus_listing(self._spec, CREMA_D_EMOTIONS, rows, group_word="speaker", warnings=warnings)

    def _rows(self, split: str, path: Path) -> Sequence[Row]:
        lines = read_lines(path, ",", _FORM)
        matches = [_NAME.fullmatch(line.fields[0]) for line in lines]
        faults = [
            f"line {line.number} has {line.fields[0]!r}"
            for line, match in zip(lines, matches, strict=True)
            if not match
        ]
        if faults:
            refuse_lines(path, "clips named <speaker>_<sentence>_<emotion>_<level>, and no header", faults)
        unknown = [
            f"line {line.number} has {line.fields[1]!r}" for line in lines if line.fields[1] not in CREMA_D_EMOTIONS
        ]
        if unknown:
            refuse_lines(path, f"the labels {', '.join(CREMA_D_EMOTIONS)}", unknown, code="dataset-unknown-label")
        return [
            Row(self._entry(match, line.fields[1], split), f"{path.name}, line {line.number}")
            for line, match in zip(lines, matches, strict=True)
            if match
        ]

    def _entry(self, match: re.Match[str], label: str, split: str) -> ClipEntry:
        name = match[0]
        notes = {part: match[part] for part in ("speaker", "sentence", "level")}
        if match["emotion"] != label:
            notes["emotion_in_name"] = match["emotion"]
        return ClipEntry(
            sample_id=name,
            path=self._visual / f"{name}{self._suffix}",
            label=label,
            split=split,
            audio_path=self._audio / f"{name}.wav",
            group=match["speaker"],
            notes=notes,
        )
