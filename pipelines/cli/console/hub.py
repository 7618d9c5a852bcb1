"""What an upload to the hub would send, as `--dry-run` shows it, and the upload itself."""

from __future__ import annotations

from collections.abc import Callable

import yaml
from rich.filesize import decimal

from pipelines.cli.console.output import answer, console, notice, say
from pipelines.runs.finished.hub.upload import HubPush, Uploaded


def push_shown(push: HubPush, dry_run: bool, send: Callable[[], Uploaded]) -> None:
    """Print what goes where, and send it unless that was all that was asked for.

    Raises:
        SalusError: as `send` does.
    """
    head = yaml.safe_load(push.front_matter)
    if push.public:
        notice(f"{push.repo} is PUBLIC: anyone may read and download what is uploaded.")
    if push.kind == "model" and not head.get("license"):
        notice("The card names no licence, as the deployed model's card names none; give one with --license.")
    size = decimal(sum(file.size for file in push.files))
    if not dry_run:
        notice(f"{len(push.files)} files, {size}, to {push.kind} {push.repo} ({push.visibility}).")
        done = send()
        answer({**push.facts(), "front_matter": head, "uploaded": done})
        gone = f", {len(done.removed)} files of an earlier upload removed" if done.removed else ""
        say(f"{len(push.files)} files in {done.url} ({push.visibility}), commit {done.commit}{gone}")
        return
    answer({**push.facts(), "front_matter": head, "uploaded": None})
    widest = max(len(file.path) for file in push.files)
    for file in push.files:
        say(f"{file.path:<{widest}}  {decimal(file.size):>10}")
    console().print()
    say(push.front_matter)
    console().print()
    say(f"{len(push.files)} files, {size}, would go to {push.kind} {push.repo} ({push.visibility}); nothing was sent.")
