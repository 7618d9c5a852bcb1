"""What several runs of one Ray may share."""

from __future__ import annotations

from typing import Literal

SharedKind = Literal["judges", "generators", "trainers"]
