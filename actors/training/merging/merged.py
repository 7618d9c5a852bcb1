"""Several policies merged into one folder; and the challenger of a cycle that is made so."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.contract.records import ChallengerName, PolicyRef, TrainReport
from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import RunNames, read_report
from actors.contract.seeds import derive_seed
from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place, remove
from actors.files.full_disk import disk_of
from actors.files.sums import file_sum
from actors.training.adapter import ADAPTER_CONFIG, merge, rms_change_on_disk, settle_config
from actors.training.made_from import MADE_FROM, MadeFrom, read_finished, write_finished
from actors.training.merging.adapters import combine
from actors.training.merging.config import MergeConfig, MergeSettings, WeightedMerge, default_weights
from actors.training.merging.weights import merge_weights

WORK = ".work"


def are_adapters(folders: Sequence[Path]) -> bool:
    """Whether all of these folders hold an adapter, rather than whole weights."""
    return all((folder / ADAPTER_CONFIG).is_file() for folder in folders)


def merged_policy(settings: MergeSettings, base: Path, policies: Sequence[Path], weights: Sequence[float], seed: int,
                  out: Path) -> float:  # fmt: skip
    """Write `merged/`, and `adapter/` where adapters are merged, to `out`; returns the change of the base's weights.

    Args:
        settings: the method.
        base: the model folder that the policies were trained from.
        policies: at least two folders, all of adapters or all of whole weights.
        weights: of each policy's update; empty: such that a mean comes of it.
        seed: of what `dare` drops.
        out: an empty folder.

    Returns:
        The root-mean-square change of the weights.

    Raises:
        SalusError: fewer than two policies, a weight too few or too many, or policies that cannot be merged. Also where
            the merged weights are the base's own, or are not finite.
        OSError: `out` cannot be written.
    """
    if len(policies) < 2:
        raise SalusError("There is one policy to merge where two are the least; name another.")
    if weights and len(weights) != len(policies):
        raise SalusError(f"There are {len(weights)} weights for {len(policies)} policies; give each one, or none.")
    check_model_folder(base)
    how = WeightedMerge(settings, tuple(weights) or default_weights(settings.method, len(policies)), seed)
    if are_adapters(policies):
        combine(base, policies, out / "adapter", how)
        merge(base, out / "adapter", out / "merged")
    else:
        merge_weights(base, policies, out / "merged", how)
    change = rms_change_on_disk(base, out / "merged")
    if not (math.isfinite(change) and change > 0):
        raise SalusError(
            f"Merging changed the weights of {base} by {change} (root mean square); check the weights of the policies."
        )
    return change


def merge_challengers(
    config: MergeConfig, folder: RunFolder, cycle: int, champion: PolicyRef, names: Sequence[ChallengerName], seed: int
) -> TrainReport | None:
    """Make the cycle's merged challenger of those that were trained, once; None where fewer than two were.

    It leaves what a trained challenger leaves: `adapter/` (of whole weights `merged/`) and `report.json`.

    Args:
        config: of the recipe.
        folder: of the run.
        cycle: whose challengers are merged.
        champion: the policy that they were trained from.
        names: of the recipe's challengers, in their order.
        seed: of the run.

    Raises:
        SalusError: they cannot be merged, or the disk is full.
    """
    started = time.time()
    trained = [name for name in names if read_report(folder, cycle, name) is not None]
    if len(trained) < 2:
        return None
    made, run_names = folder.challenger(cycle, MERGE), RunNames(folder)
    output = folder.training(cycle, MERGE)
    made_from = _made_from(config, run_names, folder, cycle, champion, trained, seed)
    done = read_finished(output / "report.json", made_from, TrainReport)
    if done is not None:
        return run_names.found(done)
    work = output / WORK
    shutil.rmtree(work, ignore_errors=True)
    try:
        with disk_of(output):
            make_folder(work)
            remove(output / "report.json")
            change = merged_policy(
                config,
                Path(champion.path),
                _sources(config, folder, cycle, trained, champion, work / "from"),
                [config.weights[name] for name in trained] if config.weights else (),
                derive_seed(seed, "merge", cycle),
                work,
            )
            has_adapter = (work / "adapter").is_dir()
            for each in ("adapter", "merged"):
                shutil.rmtree(output / each, ignore_errors=True)
            # Whole weights of an adapter are written when it wins, as every challenger's (`actors.merged`).
            kept = "adapter" if has_adapter else "merged"
            move_into_place(work / kept, output / kept)
            if has_adapter:
                settle_config(output / "adapter", run_names.policy(champion.path))
            report = _report(cycle, made, output / kept, change, started)
            write_finished(output / "report.json", made_from, run_names.written(report))
    except OSError as error:
        raise SalusError(f"The merged challenger cannot be written to {output} ({error}); free it.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def _sources(
    config: MergeConfig, folder: RunFolder, cycle: int, trained: Sequence[ChallengerName], champion: PolicyRef,
    made: Path,
) -> list[Path]:  # fmt: skip
    """What is merged; whole weights that no challenger has yet are written below `made`."""
    adapters = [folder.training(cycle, name) / "adapter" for name in trained]
    if not are_adapters(adapters):
        return [Path(folder.challenger(cycle, name).path) for name in trained]
    if config.of != "weights":
        return adapters
    for name, adapter in zip(trained, adapters, strict=True):
        merge(Path(champion.path), adapter, made / name)
    return [made / name for name in trained]


def _made_from(
    config: MergeConfig, names: RunNames, folder: RunFolder, cycle: int, champion: PolicyRef,
    trained: Sequence[ChallengerName], seed: int,
) -> MadeFrom:  # fmt: skip
    sources: Mapping[str, str] = {name: file_sum(folder.training(cycle, name) / MADE_FROM) for name in trained}
    assignment = {
        "cycle": cycle,
        "champion": {"version": champion.version, "path": names.policy(champion.path)},
        "challengers": dict(sources),
        "seed": seed,
    }
    return MadeFrom(assignment=assignment, settings=config.model_dump(mode="json"))


def _report(cycle: int, made: PolicyRef, adapter: Path, change: float, started: float) -> TrainReport:
    wall_s = time.time() - started
    return TrainReport(
        rows=0,
        steps=0,
        train_s=wall_s,
        train_start_s=started,
        wall_s=wall_s,
        workers=1,
        trainable_parameters=0,
        adapter_change=change,
        metrics={},
        algorithm=MERGE,
        cycle=cycle,
        challenger=made,
        adapter=str(adapter),
    )
