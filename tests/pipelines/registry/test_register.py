"""From a run folder to entries: what they hold, what is kept, and which runs are refused."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.config.load import load_recipe, save_recipe
from pipelines.decision.record import Decision
from pipelines.registry.lineage import chain
from pipelines.registry.names import check_name
from pipelines.registry.register import RegisterOptions, register_published, register_run
from pipelines.registry.store import Registry
from pipelines.runs.checksums import run_hash
from tests.pipelines.finished import PROMPTS
from tests.pipelines.registry.published import VERSIONS, publish_run
from tests.quiet_reporter import QuietReporter


def test_every_published_policy_is_registered_once(run: RunFolder, registry: Registry) -> None:
    first = register_run(run.root, registry)
    assert [each.run_version for each in first] == list(VERSIONS)
    assert [each.state for each in first] == ["new"] * 3
    assert [each.state for each in register_run(run.root, registry)] == ["kept"] * 3
    assert [e.version for e in registry.entries()] == [each.version for each in first]
    assert not [path for path in registry.root.rglob(".*")]


def test_an_entry_holds_what_an_audit_needs(run: RunFolder, registry: Registry, versions: Sequence[str]) -> None:
    entry = registry.find(versions[2])
    assert entry.version.startswith("demo-s7-c2-dpo-") and entry.name == "demo"
    assert entry.registered_at == "2026-11-22T12:00:00+00:00"
    assert entry.origin.recipe_sha256 == hashlib.sha256(run.recipe.read_bytes()).hexdigest()
    assert (entry.origin.run_hash, entry.origin.git_revision) == (run_hash(run), "a" * 40)
    assert [a.version for a in entry.ancestors] == [versions[1], versions[0]] and entry.parent == versions[1]
    assert entry.base.contents == registry.find(versions[0]).merged.contents
    assert entry.judge.name == "test" and entry.judge.figures is not None and entry.judge.figures.n == 200
    assert entry.data is not None and entry.data.rows_by_level == {"0": 1, "3": 2, "unknown": 1}
    # Replay: the answers of both cycles.
    assert [(c.level, c.n) for c in entry.data.judged] == [(0, PROMPTS), (3, PROMPTS)]
    assert [p.version for p in entry.publications] == ["c2-dpo"]


def test_figures_are_those_of_the_decision(run: RunFolder, registry: Registry, versions: Sequence[str]) -> None:
    decision = Decision.model_validate_json(run.decision(2).read_text())
    found = registry.find(versions[2]).validation
    assert found is not None and decision.challengers[0].comparison is not None
    assert found.metrics == decision.challengers[0].metrics
    assert (found.gain, found.sentence) == (decision.challengers[0].comparison.gain, decision.sentence)
    base = registry.find(versions[0]).validation
    assert base is not None and base.standing == "champion" and base.gain is None


def test_a_running_run_is_refreshed_when_it_knows_more(run: RunFolder, registry: Registry) -> None:
    lines = run.publications.read_text().splitlines(keepends=True)
    decisions = {cycle: run.decision(cycle).read_text() for cycle in (1, 2)}
    write_text(lines[0], run.publications)
    for cycle in decisions:
        run.decision(cycle).unlink()
    [base] = register_run(run.root, registry)
    assert registry.find(base.version or "").validation is None
    write_text("".join(lines), run.publications)
    for cycle, text in decisions.items():
        write_text(text, run.decision(cycle))
    assert [each.state for each in register_run(run.root, registry)] == ["refreshed", "new", "new"]
    assert registry.find(base.version or "").validation is not None


def test_one_version_under_another_name_with_its_weights(run: RunFolder, registry: Registry) -> None:
    [only] = register_run(run.root, registry, RegisterOptions(version="c1-kto", name="ward-3", copy=True))
    assert only.version is not None and only.version.startswith("ward-3-s7-c1-kto-")
    shutil.rmtree(run.root)
    folder, contents = registry.intact(registry.find(only.version))
    assert folder.is_relative_to(registry.root) and {f.name for f in contents.files} >= {"model.safetensors"}
    assert registry.intact(registry.find(only.version), "adapter")[0].name == "adapter"


def test_a_run_that_moved_is_found_again(run: RunFolder, registry: Registry, versions: Sequence[str]) -> None:
    moved = run.root.with_name("elsewhere")
    run.root.rename(moved)
    with pytest.raises(SalusError, match=r"are not what was registered .*register the run again"):
        registry.intact(registry.find(versions[1]))
    assert [each.state for each in register_run(moved, registry)] == ["kept", "refreshed", "refreshed"]
    assert registry.intact(registry.find(versions[1]))[0].is_relative_to(moved)


def test_copies_are_taken_of_what_was_a_reference_and_stay(
    run: RunFolder, registry: Registry, versions: Sequence[str]
) -> None:
    assert {each.state for each in register_run(run.root, registry, RegisterOptions(copy=True))} == {"refreshed"}
    assert {each.state for each in register_run(run.root, registry)} == {"kept"}
    assert all(entry.merged.folder is None for entry in registry.entries())


def test_lost_weights_leave_one_policy_out(run: RunFolder, registry: Registry) -> None:
    shutil.rmtree(run.training(1, "kto") / "merged")
    states = register_run(run.root, registry)
    assert [each.state for each in states] == ["new", "left_out", "new"]
    assert states[1].note is not None and "are gone from" in states[1].note
    entry = registry.find("demo-s7-c2-dpo")
    assert entry.parent == "c1-kto"
    assert [step.registered for step in chain(entry, registry.entries())] == [True, False, True]


def test_a_chain_goes_on_through_the_run_it_began_with(
    run: RunFolder, registry: Registry, versions: Sequence[str]
) -> None:
    later = registry.find(versions[1])
    base = later.base.model_copy(update={"contents": registry.find(versions[2]).merged.contents})
    later = later.model_copy(update={"version": "next-s7-c1-kto", "base": base})
    steps = chain(later, registry.entries())
    assert [step.tie for step in steps] == ["itself", "parent", "same_weights", "parent", "parent"]
    assert [step.version for step in steps[2:]] == [versions[2], versions[1], versions[0]]


def test_a_run_of_align_says_what_is_new(run: RunFolder, registry: Registry) -> None:
    register_published(run.root, registry.root, QuietReporter())
    assert len(registry.entries()) == 3


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ("nothing", "no publications.jsonl"),
        ('{"version": 1}\n', "line 1 is not a publication"),
        ("../../x", "which no run makes"),
        ("c1-dpo", "did not choose c1-dpo"),
        ("c3-dpo", r"decision.json is not there, though c3-dpo was published"),
    ],
)
def test_publications_that_do_not_fit_are_refused(
    changed: str, sentence: str, run: RunFolder, registry: Registry
) -> None:
    line = run.publications.read_text().splitlines(keepends=True)[1].replace('"c1-kto"', f'"{changed}"')
    write_text("" if changed == "nothing" else changed if changed.startswith("{") else line, run.publications)
    if changed in ("c1-dpo", "c3-dpo"):
        shutil.copytree(run.training(1, "kto"), run.training(int(changed[1]), "dpo"))
    with pytest.raises(SalusError, match=sentence):
        register_run(run.root, registry)


def test_no_run_no_such_version_and_bad_names_are_refused(run: RunFolder, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="is not a run folder"):
        register_run(tmp_path, registry)
    with pytest.raises(SalusError, match="has not published 'c9-kto'; it published c0-base, c1-kto, c2-dpo"):
        register_run(run.root, registry, RegisterOptions(version="c9-kto"))
    for name in ("..", "a/b", "", ".hidden", "A", "x" * 200, "a\n"):
        with pytest.raises(SalusError, match="is no name for policies"):
            check_name(name)
        with pytest.raises(SalusError, match="is no name for policies"):
            register_run(run.root, registry, RegisterOptions(name=name))
    with pytest.raises(SalusError, match="is not a local folder"):
        Registry(Path("s3://bucket/registry"))
    (tmp_path / "file").touch()
    with pytest.raises(SalusError, match="cannot be written"):
        register_run(run.root, Registry(tmp_path / "file" / "registry"))


def test_a_recipe_names_its_registry(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["publish.registry=models/registry"])
    assert recipe.publish.registry == Path("models/registry")
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe
    assert load_recipe("demo").publish.registry is None


@pytest.mark.parametrize(("shared", "file"), [(0o700, 0o600), (0o2770, 0o660)])
def test_a_registry_is_private_unless_its_folder_is_the_groups(tmp_path: Path, shared: int, file: int) -> None:
    registry = Registry(tmp_path / "registry")
    registry.prepare()
    registry.root.chmod(shared)
    run = publish_run(tmp_path / "demo-s7", tmp_path / "base")
    version = register_run(run.root, registry)[0].version
    registry.promote(str(version), "first")
    written = [path for path in registry.root.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert len(written) > 3 and {stat.S_IMODE(path.stat().st_mode) for path in written} == {file}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in registry.root.rglob("*") if path.is_dir()}
    assert folders == {shared}


def test_a_challenger_with_a_name_of_its_own_is_registered_with_its_algorithm(
    run: RunFolder, registry: Registry
) -> None:
    for path in (run.decision(2), run.publications):
        text = path.read_text().replace("c2-dpo", "c2-dpo-ipo").replace('"dpo"', '"dpo-ipo"')
        write_text(text.replace("/02/dpo/", "/02/dpo-ipo/"), path)
    run.training(2, "dpo").rename(run.training(2, "dpo-ipo"))
    added = "train.challengers.dpo-ipo={algorithm: dpo, loss_type: [ipo]}"
    save_recipe(load_recipe(str(run.recipe), [added]), run.recipe)
    version = register_run(run.root, registry)[-1].version
    entry = registry.find(version or "")
    assert entry.version.startswith("demo-s7-c2-dpo-ipo-")
    assert (entry.origin.algorithm, entry.origin.run_version) == ("dpo", "c2-dpo-ipo")
    assert entry.data is not None and entry.data.n == 4 and entry.adapter is not None
    assert entry.validation is not None and entry.validation.standing == "eligible"
    # What no recipe names cannot have been trained.
    save_recipe(load_recipe(str(run.recipe), ["train.challengers.dpo-ipo=null"]), run.recipe)
    with pytest.raises(SalusError, match="names no challenger dpo-ipo, which was published"):
        register_run(run.root, registry)
