"""VGGSound: <ytid>_<start, 6 digits>.mp4 and vggsound.csv with lines of ytid,start,label,split."""

from __future__ import annotations

from pathlib import Path

from worker.contract.spec.corpora import VggSound
from worker.datasets.corpus import Row, corpus_listing, require_places, unlisted_warnings
from worker.datasets.folder import SPLIT_NAMES
from worker.datasets.lists import ListLine, read_lines, refuse_lines
from worker.datasets.source import ClipEntry, DatasetListing

_FORM = "ytid,start,label,split"


class VggSoundDataset:
    """VGGSound in its official layout."""

    def __init__(self, spec: VggSound) -> None:
        """Keeps the spec."""
        self._spec = spec
        self._root = Path(spec.path)
        self._clips = self._root / spec.clips_folder

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips of vggsound.csv, in its order.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-layout-incomplete, dataset-bad-list, and those of corpus_listing.
        """
        path = self._root / self._spec.split_list
        places = [(self._clips, "folder of <ytid>_<start, 6 digits>.mp4"), (path, f"lines of {_FORM}")]
        require_places(self._root, places)
        lines = read_lines(path, ",", _FORM)
        faults = [f"line {line.number} has {line.fields[1]!r}" for line in lines if not line.fields[1].isdecimal()]
        if faults:
            refuse_lines(path, "the start in whole seconds, and no header", faults)
        faults = [f"line {line.number} has {line.fields[3]!r}" for line in lines if line.fields[3] not in SPLIT_NAMES]
        if faults:
            refuse_lines(path, "the split train or test (or validation)", faults)
        rows = [Row(self._entry(line), f"{path.name}, line {line.number}") for line in lines]
        classes = sorted({row.entry.label for row in rows})
        warnings = unlisted_warnings(self._clips, ".mp4", (row.entry.sample_id for row in rows))
        return corpus_listing(self._spec, classes, rows, group_word="video", warnings=warnings)

    def _entry(self, line: ListLine) -> ClipEntry:
        video, start, label, split = line.fields
        name = f"{video}_{int(start):06d}"
        return ClipEntry(
            sample_id=name,
            path=self._clips / f"{name}.mp4",
            label=label,
            split=SPLIT_NAMES[split],
            group=video,
            notes={"video_start_s": start},
        )
