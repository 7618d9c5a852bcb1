"""A Ray cluster on this machine whose GPU nodes start from none: Ray's fake autoscaler brings and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from pipelines.cluster.join import TOKEN, fresh_token
from tests.free_port import free_port

NODE_GPUS = 2
START_S = 60.0
# The v1 autoscaler's, as Ray's own tests of it set it. Its wheel lacks the YAML that `AutoscalingCluster` reads.
_NO_COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


@contextmanager
def growing_cluster(place: Path, most: int) -> Iterator[str]:
    """The address of a head without a GPU, to which at most so many nodes of `NODE_GPUS` pretended GPUs come.

    A node that was idle for six seconds goes.
    """
    port = free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    node = {"resources": {"CPU": 2, "GPU": NODE_GPUS, "object_store_memory": 10**8}, "node_config": {}}
    config = {
        "cluster_name": "growing",
        "max_workers": most,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "launch_multiple": True,
            "disable_node_updaters": True,
            # All nodes have this machine's address: by it none is told from another, and none is known to be idle.
            "use_node_id_as_ip": True,
        },
        "auth": {"ssh_user": "ubuntu"},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": node | {"min_workers": 0, "max_workers": most},
        },
        "head_node": {},
        "worker_nodes": {},
    } | {name: [] for name in _NO_COMMANDS}
    file = place / "cluster.json"
    file.write_text(json.dumps(config))
    with fresh_token():
        start = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            "--num-cpus=2", "--num-gpus=0", "--object-store-memory=100000000",
            "--include-dashboard=false", f"--autoscaling-config={file}",
        ]  # fmt: skip
        environment = os.environ | {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }
        assert TOKEN in environment
        with (place / "head.log").open("w") as log:
            head = subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + START_S
            while "Ray runtime started" not in (place / "head.log").read_text():
                assert head.poll() is None and time.monotonic() < deadline, (place / "head.log").read_text()
                time.sleep(0.5)
            yield address
        finally:
            head.send_signal(signal.SIGTERM)
            try:
                head.wait(timeout=30)
            finally:
                if head.poll() is None:
                    os.killpg(head.pid, signal.SIGKILL)
