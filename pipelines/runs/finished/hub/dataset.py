"""The judged answers of a run as a private data set on the hub: what `salus runs push` sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.data.sets.table import DATA_SETS
from pipelines.runs.finished.export.answers import SETS, Wanted
from pipelines.runs.finished.export.export import export_run
from pipelines.runs.finished.hub.private import check_private
from pipelines.runs.finished.hub.upload import HubFile, HubPush, check_repo
from pipelines.runs.finished.shape import recipe_of_run

# Sources whose prompts anyone can read or make.
_PUBLISHED = {"clinic", "medsafety", *(name for name, row in DATA_SETS.items() if row.hub_id is not None)}


@contextmanager
def answers_push(
    folder: RunFolder, repo: str, wanted: Wanted | None = None, own_prompts: bool = False
) -> Iterator[HubPush]:
    """What would be uploaded of a run: what `export_run` writes as `hf-dataset`. Files are there while it is open.

    Pairs are left out where people's feedback or labels made some of them.

    Args:
        wanted: which answers are taken.
        own_prompts: whether prompts of data that is no published set may be uploaded.

    Raises:
        SalusError: as `export_run` and `HubPush`, or a file names a folder of this machine. Also where the prompts
            are of data of one's own and `own_prompts` is false.
    """
    from huggingface_hub import get_token

    check_repo(repo)
    if not own_prompts and recipe_of_run(folder).data.source not in _PUBLISHED:
        raise SalusError(
            f"The prompts of {folder.root} are of your own data and may hold what patients wrote. Give --own-prompts"
            " where all who may read the repository may read them, too."
        )
    wanted = wanted or Wanted()
    if holds_peoples_words(folder) and wanted == Wanted():
        # All answers by name, which takes no pairs.
        wanted = Wanted(prompts=SETS)
    with TemporaryDirectory(prefix="salus-push-") as place:
        made = Path(place) / "answers"
        report = export_run(folder, "hf-dataset", made, wanted)
        files = tuple(HubFile(name, made / name) for name in report.files)
        check_private(files, (folder.root, made), get_token())
        yield HubPush(
            repo=repo,
            kind="dataset",
            public=False,
            files=files,
            message=f"Run {folder.root.name}",
            replaces=("answers/*.parquet", "pairs/*.parquet"),
        )


def holds_peoples_words(folder: RunFolder) -> bool:
    """Whether pairs of a run were made from feedback or labels of people."""
    preference = recipe_of_run(folder).preference
    return preference.feedback is not None or preference.reviews is not None
