"""The tables of docs/licences.md, from the metadata of the installed wheels: `python -m tests.licences` writes them.

Names and licences come from the wheels; of the native libraries that wheels carry, whose licences no metadata tells,
from the list here. A library that the list does not know makes the script fail.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|ISC|Zlib|PSF|Python Software Foundation|0BSD|CC0|Unlicense|HPND|3-Clause", re.IGNORECASE
)
NVIDIA = "NVIDIA proprietary (CUDA EULA, cuDNN SLA)"
UNTOLD = {
    "axe-playwright-python": "MIT; brings axe-core, MPL-2.0",
    "cuda-toolkit": NVIDIA,
    "cuda-bindings": "Apache-2.0",
}
"""Licences of packages whose metadata says none, from their repositories."""

FFMPEG = "LGPL-3.0-or-later by its own word; GPL in effect, see above"
LGPL3_OR_GPL2 = "LGPL-3.0-or-later or GPL-2.0-or-later"
GCC = "GPL-3.0-or-later with the GCC runtime library exception"
LIBRARIES = {
    **dict.fromkeys(("avcodec", "avdevice", "avfilter", "avformat", "avutil", "swresample", "swscale"), FFMPEG),
    **dict.fromkeys(("x264", "x265"), "**GPL-2.0-or-later**"),
    **dict.fromkeys(("gmp", "hogweed", "nettle", "unistring"), LGPL3_OR_GPL2),
    **dict.fromkeys(("asound", "gnutls", "quadmath"), "LGPL-2.1-or-later"),
    **dict.fromkeys(("vpx", "opus", "webp", "webpmux", "webpdemux", "sharpyuv"), "BSD-3-Clause"),
    **dict.fromkeys(("scipy_openblas", "scipy_openblas64_"), "BSD-3-Clause"),
    **dict.fromkeys(("dav1d", "avif", "openjp2"), "BSD-2-Clause"),
    **dict.fromkeys(("xcb", "xcb-shape", "xcb-shm", "xcb-xfixes", "Xau", "drm", "vpl", "lcms2", "harfbuzz"), "MIT"),
    **dict.fromkeys(("brotlicommon", "brotlidec"), "MIT"),
    **dict.fromkeys(("opencore-amrnb", "opencore-amrwb"), "Apache-2.0"),
    **dict.fromkeys(("gfortran", "gomp"), GCC),
    **dict.fromkeys(("cudart", "nvjpeg"), NVIDIA),
    "SvtAv1Enc": "BSD-3-Clause-Clear, AOM patent licence",
    "mp3lame": "LGPL-2.0-or-later",
    "freetype": "FTL or GPL-2.0-or-later",
    "jpeg": "IJG, BSD-3-Clause",
    "lzma": "0BSD",
    "png16": "libpng-2.0",
    "tiff": "libtiff",
    "z": "Zlib",
    "zstd": "BSD-3-Clause or GPL-2.0",
}
"""Native library -> its licence, from its own repository."""


def declared() -> dict[str, tuple[list[str], list[Requirement]]]:
    """Returns the direct dependencies of pyproject.toml: name -> the parts that ask for it, and how."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = {"every part": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, tuple[list[str], list[Requirement]]] = {}
    for part, texts in parts.items():
        for requirement in map(Requirement, texts):
            if requirement.name != "gapscope":
                names, asked = found.setdefault(canonicalize_name(requirement.name), ([], []))
                names.append(part)
                asked.append(requirement)
    return dict(sorted(found.items()))


def licence(name: str) -> str:
    """Returns a package's licence, as its metadata says."""
    about = metadata.metadata(name)
    classifiers = [
        text.rpartition(" :: ")[2].removesuffix(" License")
        for text in about.get_all("Classifier") or ()
        if text.startswith("License :: ") and "DFSG" not in text
    ]
    free_text = (about.get("License") or "").strip().partition("\n")[0][:60]
    found = about.get("License-Expression") or ", ".join(classifiers) or free_text or UNTOLD.get(name, "")
    if found == "Apache Software":
        return "Apache-2.0"
    if found in ("Other/Proprietary", "NVIDIA Proprietary Software", "LicenseRef-NVIDIA-Proprietary"):
        return NVIDIA
    return found


def comes_with(names: Iterable[str]) -> set[str]:
    """Returns all packages that some packages ask for, and those that these ask for, and so on; the first included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        if name in found and not requirement.extras:
            continue
        try:
            asked = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name)
        for text in asked:
            marker = Requirement(text).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(text)
    return found


def libraries(name: str) -> list[str]:
    """Returns the native libraries that lie in the `.libs` folder of a wheel, without version and digest."""
    files = metadata.distribution(name).files or []
    stems = {_stem(Path(file).name) for file in files if ".libs/" in str(file) and ".so" in Path(file).name}
    return sorted(stems)


def _stem(file: str) -> str:
    stem = file.removeprefix("lib").partition(".")[0]
    return re.sub(r"(-[0-9a-f]{8})+$", "", stem)


def _runtime() -> list[str]:
    """Returns what Gapscope asks for in order to run: not what its developers need."""
    return [str(one) for parts, asked in declared().values() for one in asked if set(parts) - {"dev"}]


def bounds(asked: Iterable[Requirement]) -> str:
    """Returns the versions that are asked for, as the table has them."""
    return " ".join(dict.fromkeys(f"`{','.join(sorted(map(str, one.specifier), reverse=True))}`" for one in asked))


def _direct_rows() -> Iterator[str]:
    yield "| package | asked for by | bounds | licence |"
    yield "|---|---|---|---|"
    for name, (parts, asked) in declared().items():
        yield f"| {name} | {', '.join(parts)} | {bounds(asked)} | {licence(name)} |"


def _other_rows() -> Iterator[str]:
    direct = declared()
    others = sorted(comes_with(_runtime()) - set(direct))
    plain = [name for name in others if PERMISSIVE.search(licence(name)) and "MPL" not in licence(name)]
    yield f"{len(plain)} under MIT, BSD, Apache-2.0 and other permissive licences: {', '.join(plain)}."
    yield ""
    yield "| the others | licence |"
    yield "|---|---|"
    for name in others:
        if name not in plain:
            yield f"| {name} | {licence(name)} |"


def _library_rows() -> Iterator[str]:
    yield "| wheel | native library | licence |"
    yield "|---|---|---|"
    for name in sorted(comes_with(_runtime())):
        by_licence: dict[str, list[str]] = {}
        for library in libraries(name):
            by_licence.setdefault(LIBRARIES[library], []).append(library)
        for text, found in sorted(by_licence.items(), key=lambda item: item[1]):
            yield f"| {name} | {', '.join(found)} | {text} |"


def with_tables(text: str) -> str:
    """Returns the document with its tables made anew."""
    for title, rows in (("direct", _direct_rows()), ("others", _other_rows()), ("libraries", _library_rows())):
        begin, end = BEGIN.format(title), END.format(title)
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = head + "\n".join((begin, *rows, end)) + tail
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
