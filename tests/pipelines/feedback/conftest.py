"""Places of each kind, and machines, also for feedback and labels."""

from tests.pipelines.runs.store.conftest import move_to, place, s3, s3_url

__all__ = ["move_to", "place", "s3", "s3_url"]
