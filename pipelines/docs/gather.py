"""Gathers the pages of the site into a folder: `python -m pipelines.docs.gather FOLDER`; mkdocs builds it from there.

READMEs stay beside the code. They, the pages of `pages/` and the reference are copied, and links between them follow.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.docs.links import moved
from pipelines.docs.reference import PAGES

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(__file__).parent / "pages"
# Pages at the top of the repository, and what the site calls them.
PROJECT = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    ".github/CONTRIBUTING.md": "project/contributing.md",
    ".github/SECURITY.md": "project/security.md",
    "tests/benchmarks/README.md": "project/benchmarks.md",
    "tests/gpu/README.md": "project/gpu.md",
}
# The order of the site's parts, their titles, and where their pages are.
PARTS = {
    "Tutorials": "tutorial",
    "How to": "how-to",
    "Reference": "reference",
    "Explanation": "explanation",
    "The code": "code",
    "The project": "project",
}


def places() -> dict[PurePosixPath, PurePosixPath]:
    """By each file of the repository that the site has, relative to it, where it is on the site."""
    found = {PurePosixPath(source): PurePosixPath(place) for source, place in PROJECT.items()}
    for page in sorted(OWN.rglob("*.md")):
        found[_in_repository(page)] = PurePosixPath(page.relative_to(OWN).as_posix())
    for package in ("actors", "pipelines"):
        for readme in sorted((ROOT / package).rglob("README.md")):
            folder = readme.parent.relative_to(ROOT).as_posix()
            found[_in_repository(readme)] = PurePosixPath("code") / f"{folder}.md"
        for picture in sorted((ROOT / package).rglob("*.png")):
            found[_in_repository(picture)] = PurePosixPath("pictures") / picture.name
    return found


def gather(out: Path) -> None:
    """Write every page into `out`, a folder that is made anew.

    Raises:
        SalusError: there is something else in it.
    """
    if out.exists() and not (out / "index.md").is_file():
        raise SalusError(f"{out} is there and holds no pages of this site; name a folder that may be made anew.")
    shutil.rmtree(out, ignore_errors=True)
    known = places()
    for source, place in known.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            write_text(moved((ROOT / source).read_text(encoding="utf-8"), source, known), out / place)
        else:
            shutil.copyfile(ROOT / source, out / place)
    for name, page in PAGES.items():
        (out / "reference").mkdir(exist_ok=True)
        write_text(page(), out / "reference" / name)
    write_text(navigation(out, known), out / "SUMMARY.md")


def navigation(out: Path, known: Mapping[PurePosixPath, PurePosixPath]) -> str:
    """The site's navigation, as the plug-in `literate-nav` reads it."""
    lines = ["* [Salus](index.md)"]
    for part, folder in PARTS.items():
        lines.append(f"* {part}")
        for page in sorted((out / folder).rglob("*.md"), key=_order):
            lines.append(f"    * [{_title(page)}]({page.relative_to(out).as_posix()})")
    lines.append("* [Known limits](limits.md)")
    return "\n".join(lines) + "\n"


# A tutorial is read in order.
_FIRST = ("demo.md", "own-model.md", "own-data.md")


def _order(page: Path) -> tuple[int, str]:
    return (_FIRST.index(page.name) if page.name in _FIRST else len(_FIRST), page.as_posix())


def _title(page: Path) -> str:
    first = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return first.removeprefix("# ").split(": ")[0]


def _in_repository(path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipelines.docs.gather FOLDER")
    gather(Path(sys.argv[1]))
