"""`salus runs push`: the judged answers of a run as a private data set on the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from actors.contract.run_folder import RunFolder
from pipelines.cli.console.options import AnswerPolicies, AnswerSets, DryRun, RunArgument
from pipelines.cli.console.output import notice


def push(
    run: RunArgument,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="A data set of the hub, as ORGANISATION/NAME.")],
    prompts: AnswerSets = None,
    policy: AnswerPolicies = None,
    own_prompts: Annotated[
        bool, typer.Option("--own-prompts", help="Upload prompts of your own data, which may hold what patients wrote.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Upload a run's answers, judgments and pairs to the hub, as a private data set; it is never made public.

    Its texts may hold harmful requests and answers. Pairs are left out where people's feedback or labels made some.
    The hub is that of HF_ENDPOINT. The token is HF_TOKEN, or that of hf auth login.
    """
    from pipelines.cli.console.hub import push_shown
    from pipelines.runs.finished.export.answers import Wanted, prompt_sets
    from pipelines.runs.finished.hub.dataset import answers_push, holds_peoples_words
    from pipelines.runs.finished.hub.upload import check_client, upload
    from pipelines.runs.store.reading import readable

    if not dry_run:
        check_client()
    with readable(run) as (root, view):
        if view is not None:
            view.fetch_all()
        folder = RunFolder(root)
        wanted = Wanted(prompts=prompt_sets(prompts or ()), policies=tuple(policy or ()))
        if holds_peoples_words(folder):
            notice("People's feedback or labels made some pairs of this run, so no pair is uploaded.")
        notice("The texts may hold harmful requests and answers: see who may read the repository.")
        with answers_push(folder, repo, wanted, own_prompts) as made:
            push_shown(made, dry_run, lambda: upload(made))
