"""What tests of several actors share: two policies that answer differently."""

from __future__ import annotations

import pytest

from actors.contract.records import PolicyRef
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PolicyRef]:
    root = tmp_path_factory.mktemp("policies")
    return {
        name: PolicyRef(version=name, path=str(make_tiny_model(root / name, seed)))
        for seed, name in enumerate(("a", "b"))
    }
