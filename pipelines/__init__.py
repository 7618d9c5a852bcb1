"""The flow and what is pure: cycles, preference data, metrics, decisions, recipes, reports, the command line.

In a notebook or a program:

```python
from pipelines import align, load_recipe

recipe = load_recipe("demo", ["cycles=1"])
summary = align(recipe)
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.config.recipe import Recipe
    from pipelines.runs.summary import Summary

__all__ = ["align", "load_recipe", "read_summary"]

# Everything is imported inside the functions: to import a package is cheap.


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by its name or by the path of a YAML file, as `salus align` takes it.

    Args:
        name: as "demo", or "clinic.yaml".
        changes: settings as `--set` takes them, as "train.challengers.kto.beta=0.2".

    Raises:
        SalusError: no such recipe, not YAML, an unknown setting or a value that does not fit.
    """
    from pipelines.config.load import load_recipe as load

    return load(str(name), changes)


def align(
    recipe: Recipe, run: str | Path | None = None, *, fresh: bool = False, quiet: bool = False, verbose: bool = False
) -> Summary:
    """Run a recipe's cycles, or what is left of them; progress is drawn in a notebook, and else printed to stderr.

    The same call goes on where an interrupted one stopped. Of a run that is complete it returns the summary.

    Args:
        recipe: what `load_recipe` returns.
        run: the run folder, or an address as "s3://bucket/run"; None: `runs/NAME-sSEED`.
        fresh: forget what the folder holds.
        quiet: no progress.
        verbose: also what Ray and other libraries log.

    Returns:
        the figures of all cycles and of the final test.

    Raises:
        SalusError: bad input, in one sentence, before anything costly where that can be known.
    """
    from actors.contract.loopback import no_proxy
    from pipelines.alignment.align import align as run_cycles
    from pipelines.cli.console.libraries import quiet_libraries
    from pipelines.cli.console.options import run_place
    from pipelines.cli.console.output import progress_reporter
    from pipelines.cluster.environment import environment
    from pipelines.runs.inputs import fetch_inputs

    with quiet_libraries(verbose), environment(no_proxy()), progress_reporter(quiet).live() as progress:
        here = fetch_inputs(recipe, progress.say)
        return run_cycles(here, run_place(here, None if run is None else str(run)), progress, fresh=fresh)


def read_summary(run: str | Path) -> Summary | None:
    """The summary of a run folder, or of a run at an address; None while it has none.

    Raises:
        SalusError: it is no run, or its summary cannot be read.
    """
    from actors.contract.run_folder import RunFolder
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable
    from pipelines.runs.summary import find_summary

    with readable(str(run)) as (root, _):
        folder = RunFolder(root)
        recipe_of_run(folder)
        return find_summary(folder.summary)
