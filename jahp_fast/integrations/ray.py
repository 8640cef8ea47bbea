# SPDX-License-Identifier: Apache-2.0
"""Ray: `jahp batch --ray`, and .jahp files as a Ray dataset.

    from jahp_fast.integrations.ray import decode_dataset
    images = decode_dataset("/shared/photos")       # rows of "image", (H, W, 3) uint8, and "path"

Every node needs this package installed and sees the files under the same names. One CPU an image.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from jahp_fast.batch.pool import GRACE_S, TICK_S
from jahp_fast.batch.work import Job, Outcome, Task, process
from jahp_fast.errors import FormatError, JahpError, first_line
from jahp_fast.local import Settings, codec_for, settings

PER_CPU = 2
"""Jobs that are handed out for each CPU of the cluster: one at work, one waiting beside it."""
RETRIES = 3
"""Of a job whose worker process or node dies."""


def run_on_cluster(
    task: Task, jobs: Iterator[Job], workers: int | None, stopped: Callable[[], bool]
) -> Generator[Outcome | None, None, None]:
    """As batch.pool.run_here, on the cluster that RAY_ADDRESS names, else on a new one on this machine.

    Args:
        workers: jobs handed out at a time; by default PER_CPU for each CPU of the cluster.

    Raises JahpError where Ray is not installed or cannot be reached.
    """
    ray = connect()
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(process)
    most = workers or max(1, int(PER_CPU * ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, Job] = {}
    deadline = None
    while True:
        while len(running) < most and not stopped():
            job = next(jobs, None)
            if job is None:
                break
            running[remote.remote(task, job)] = job
        if not running:
            return
        if stopped():
            deadline = deadline or time.monotonic() + GRACE_S
            if time.monotonic() > deadline:
                for reference in running:
                    ray.cancel(reference, force=True)
                return
        ready, _ = ray.wait(list(running), timeout=TICK_S)
        if not ready:
            yield None
        for reference in ready:
            job = running.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as e:
                outcome = Outcome(job, type(e).__name__, first_line(e))
            yield outcome


def connect() -> Any:
    """The module `ray`, connected to the cluster that RAY_ADDRESS names, else to a new one on this machine. Raises JahpError."""
    try:
        import ray
    except ImportError:
        raise JahpError("Ray is not installed: pip install 'jahp_fast[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level="error")  # heeds RAY_ADDRESS
        except (ConnectionError, RuntimeError, ValueError) as e:
            raise JahpError(f"no Ray cluster: {first_line(e)}") from None
    return ray


def decode_dataset(
    source: str | os.PathLike[str] | Sequence[str],
    *,
    models: Sequence[str | os.PathLike[str]] = (),
    **read_options: Any,
) -> Any:
    """A lazy `ray.data.Dataset` of decoded images.

    Args:
        source: files or folders, searched in depth for *.jahp.
        models: model files, on every node, looked through before the folders of JAHP_FAST_MODELS and the package's own.
        read_options: of `ray.data.read_binary_files`.

    Returns:
        Rows {"image": uint8 array as Codec.decode gives it, "path": str}. A damaged file raises FormatError with its name in the task.
    """
    import ray.data

    paths = os.fspath(source) if isinstance(source, (str, os.PathLike)) else list(source)
    files = ray.data.read_binary_files(paths, include_paths=True, file_extensions=["jahp"], **read_options)
    return files.map(functools.partial(decode_row, settings(models=models)), num_cpus=1)


def decode_row(wanted: Settings, row: dict[str, Any]) -> dict[str, Any]:
    """{"bytes", "path"} -> {"image", "path"}."""
    try:
        image = codec_for(wanted).decode(row["bytes"])
    except FormatError as e:
        raise FormatError(f"{row['path']}: {e}") from None
    return {"image": image, "path": row["path"]}
