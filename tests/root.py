"""Where the repository is, for tests that start programs in it or read its pages."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
