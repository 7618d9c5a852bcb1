"""Where the workers of a run print: in Ray's folder while a session works, and in the run's folder afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.files.worker_logs import keep_logs


class SessionLogs(Record):
    """Ray's folder of logs on the machine of the running session, and the session's job."""

    folder: str
    # As it is in the names of the files; a cluster holds those of other jobs too.
    job: str

    @classmethod
    def of_run(cls, folder: RunFolder) -> SessionLogs | None:
        """Those of the session that works in a run folder; None where none does.

        Raises:
            SalusError: the record cannot be read.
        """
        found = find_record(cls, folder.session_logs, "the record of a session's logs", "remove it")
        return found if found is not None and Path(found.folder).is_dir() else None


@contextmanager
def kept_logs(folder: RunFolder) -> Iterator[None]:
    """Inside, `salus logs` finds what the workers of this driver's Ray print; afterwards it is kept with the run.

    On a cluster that is so of the workers on this machine. A run never fails for want of its logs.
    """
    import ray

    from actors.contract.ray_internals import logs_folder

    source = logs_folder()
    if source is None:
        yield
        return
    logs = SessionLogs(folder=str(source), job=ray.get_runtime_context().get_job_id())
    write_text(logs.model_dump_json(), folder.session_logs)
    try:
        yield
    finally:
        with suppress(OSError):
            keep_logs(source, logs.job, folder.worker_logs)
            folder.session_logs.unlink()
