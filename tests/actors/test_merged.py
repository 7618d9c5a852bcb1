"""Whole weights of challengers on a node: merged once, shared, kept while in use, and written for a winner."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actors import merged
from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.engine.port import Sampling
from actors.errors import SalusError
from actors.files.shards import strings, write_table
from actors.generator import Generator, RolloutTask
from actors.merged import NodeWeights, is_unmerged, keep_merged
from actors.training.adapter import merge
from tests.rows import prompts
from tests.tiny_adapter import make_tiny_adapter
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine

Challenger = Callable[..., PolicyRef]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PolicyRef:
    return PolicyRef(version="c0-base", path=str(make_tiny_model(tmp_path_factory.mktemp("base") / "base")))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a node."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"salus-merged-{os.geteuid()}"


@pytest.fixture
def challenger(base: PolicyRef, tmp_path: Path) -> Challenger:
    def made(name: str, seed: int = 1) -> PolicyRef:
        policy = RunFolder(tmp_path / "run").challenger(1, name)
        make_tiny_adapter(Path(base.path), Path(policy.path).with_name("adapter"), seed=seed)
        return policy

    return made


def files(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_it_is_merged_on_the_node_and_not_in_the_run(
    base: PolicyRef, challenger: Challenger, node: Path, tmp_path: Path
) -> None:
    kto, weights = challenger("kto"), NodeWeights()
    merge(Path(base.path), Path(kto.path).with_name("adapter"), tmp_path / "expected")
    before = torch.random.get_rng_state()
    found = weights.of(kto, base)
    # An engine draws from the same generator.
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.version == kto.version and Path(found.path).is_relative_to(node)
    assert files(found.path) == files(tmp_path / "expected")
    assert not Path(kto.path).exists() and is_unmerged(kto)
    assert node.stat().st_mode & 0o077 == 0
    # It is the same policy to an engine that asks again, and to another process.
    written = Path(found.path).stat().st_mtime_ns
    assert weights.of(kto, base) == found == NodeWeights().of(kto, base)
    assert Path(found.path).stat().st_mtime_ns == written


def test_threads_do_not_change_a_bit(base: PolicyRef, challenger: Challenger, tmp_path: Path) -> None:
    """A trainer and an engine have other numbers of them."""
    adapter = Path(challenger("kto").path).with_name("adapter")
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            merge(Path(base.path), adapter, tmp_path / str(threads))
    finally:
        torch.set_num_threads(before)
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_what_has_whole_weights_is_taken_as_it_is(base: PolicyRef, challenger: Challenger, node: Path) -> None:
    weights, kto = NodeWeights(), challenger("kto")
    assert weights.of(base, base) == base and weights.of(kto, None) == kto
    shutil.copytree(base.path, kto.path)
    assert weights.of(kto, base) == kto and not node.exists()


def test_another_adapter_or_champion_at_the_same_path_is_another_policy(
    base: PolicyRef, challenger: Challenger, node: Path, tmp_path: Path
) -> None:
    weights, kto = NodeWeights(), challenger("kto")
    first = weights.of(kto, base)
    shutil.rmtree(Path(kto.path).with_name("adapter"))
    challenger("kto", seed=2)
    second = weights.of(kto, base)
    assert files(first.path).keys() == files(second.path).keys() and files(first.path) != files(second.path)
    other = PolicyRef(version="c0-base", path=str(make_tiny_model(tmp_path / "other", seed=5)))
    assert weights.of(kto, other).path not in (first.path, second.path)


def test_what_a_process_uses_stays_and_the_rest_goes(
    base: PolicyRef, challenger: Challenger, node: Path, tmp_path: Path
) -> None:
    kto, dpo = challenger("kto"), challenger("dpo", seed=2)
    mine, other = NodeWeights(), NodeWeights()
    loaded = Path(other.of(kto, base).path)
    for policy in (kto, dpo):
        mine.of(policy, base)
    mine.forget()
    assert loaded.is_dir() and [path.name for path in node.iterdir()] == [loaded.parent.name]
    # The next champion's challenger finds room; what is idle and what is in use differ.
    champion = PolicyRef(version="c1-kto", path=str(make_tiny_model(tmp_path / "next", seed=5)))
    idle = Path(mine.of(dpo, base).path).parent
    mine.close()
    long_ago = time.time() - 3600
    os.utime(loaded.parent, (long_ago, long_ago))
    mine.of(dpo, champion)
    assert idle.is_dir() and loaded.is_dir()
    os.utime(idle, (long_ago, long_ago))
    mine.of(kto, champion)
    assert not idle.exists() and loaded.is_dir()


def test_one_that_is_made_meanwhile_is_taken_and_its_maker_not_waited_for(
    base: PolicyRef, challenger: Challenger, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines find nothing at the same time; the one that makes it keeps it until it loads another."""
    kto, first, second = challenger("kto"), NodeWeights(), NodeWeights()
    locked, made = merged._locked, list[str]()

    def as_the_other_makes_it(entry: Path, how: int) -> int:
        if how & fcntl.LOCK_EX and not made:
            made.append("now")
            made[0] = first.of(kto, base).path
        return locked(entry, how)

    monkeypatch.setattr(merged, "_locked", as_the_other_makes_it)
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(second.of(kto, base).path), daemon=True)
    asking.start()
    asking.join(timeout=60)
    assert found == made


USER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from actors.contract.records import PolicyRef
from actors.merged import NodeWeights
weights = NodeWeights()
print(weights.of(PolicyRef(version="c1-kto", path=sys.argv[2]), PolicyRef(version="c0", path=sys.argv[3])).path)
sys.stdin.read()
"""


def test_a_killed_process_holds_nothing(base: PolicyRef, challenger: Challenger, node: Path, tmp_path: Path) -> None:
    kto, weights = challenger("kto"), NodeWeights()
    command = [sys.executable, "-c", USER, str(tmp_path), kto.path, base.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        loaded = Path(user.stdout.readline().strip())
        assert str(loaded) == weights.of(kto, base).path
        weights.forget()
        assert loaded.is_dir()
        user.kill()
    weights.of(kto, base)
    weights.forget()
    assert not loaded.exists() and not list(node.iterdir())


def test_half_of_what_a_killed_process_merged_is_made_anew(base: PolicyRef, challenger: Challenger, node: Path) -> None:
    kto, weights = challenger("kto"), NodeWeights()
    found = Path(weights.of(kto, base).path)
    whole = files(found)
    weights.close()
    found.rename(found.with_name("made"))
    (found.with_name("made") / "model.safetensors").write_bytes(b"half")
    assert files(weights.of(kto, base).path) == whole
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def test_a_winner_gets_whole_weights_in_its_folder(base: PolicyRef, challenger: Challenger, node: Path) -> None:
    kto, weights = challenger("kto"), NodeWeights()
    expected = files(weights.of(kto, base).path)
    keep_merged(kto, base)
    assert files(kto.path) == expected and not is_unmerged(kto)
    written = Path(kto.path).stat().st_mtime_ns
    keep_merged(kto, base)
    assert Path(kto.path).stat().st_mtime_ns == written
    assert sorted(path.name for path in Path(kto.path).parent.iterdir()) == ["adapter", "merged"]


def test_an_adapter_of_another_model_leaves_nothing(challenger: Challenger, node: Path, tmp_path: Path) -> None:
    kto = challenger("kto")
    wider = PolicyRef(version="c0", path=str(make_tiny_model(tmp_path / "wider", hidden=64)))
    with pytest.raises(SalusError, match="does not fit the model"):
        keep_merged(kto, wider)
    assert not Path(kto.path).exists() and not list(Path(kto.path).parent.glob(".work"))


def test_a_generator_answers_with_what_it_merged(
    base: PolicyRef, challenger: Challenger, node: Path, tmp_path: Path
) -> None:
    kto, weights = challenger("kto"), NodeWeights()
    write_table(prompts(3), tmp_path / "prompts.parquet")

    def answers(policy: PolicyRef, generator: Generator) -> list[str]:
        task = RolloutTask(
            policy=policy,
            base=base,
            prompts=str(tmp_path / "prompts.parquet"),
            output=str(tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"),
            sampling=Sampling(k=1, temperature=0.0, max_tokens=6),
            seed=1,
        )
        table, _ = generator.generate(task)
        assert set(table["policy"].to_pylist()) == {policy.version}
        answered = strings(table, "answer")
        return answered

    merging = Generator(TransformersEngine(base), weights.of)
    found = answers(kto, merging)
    keep_merged(kto, base)
    assert found == answers(kto, Generator(TransformersEngine(base)))
    assert found != answers(base, merging)
