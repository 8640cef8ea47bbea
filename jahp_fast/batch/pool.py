# SPDX-License-Identifier: Apache-2.0
"""Worker processes on this machine: each has one job at a time, and one that dies is replaced.

Processes of their own and not multiprocessing's: one that crashes takes nothing along but its job, which is given to another once.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import IO, cast

from jahp_fast.batch.work import Job, Outcome, Task
from jahp_fast.batch.worker import PARENT, dumped
from jahp_fast.errors import JahpError
from jahp_fast.system.parallel import available_cores

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TRIES = 2
"""Of a job whose worker dies."""
GRACE_S = 10.0
"""Workers may take so long to finish what they are at when the run ends early."""
TICK_S = 0.5


_PARENTS = {signal.SIGINT, signal.SIGTERM}
"""Signals for the parent alone, which lets workers finish; workers start with them blocked, and otherwise share its process group."""
if sys.platform == "win32":
    _FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP  # so Ctrl-C does not reach them
else:
    _FLAGS = 0


@contextlib.contextmanager
def _parents_signals_blocked() -> Iterator[None]:
    """For the start of a child, which begins with its parent's mask."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    def __init__(self, task: Task, lines: _Lines) -> None:
        """lines: gets (self, line) for each line that it writes, and (self, b"") at the end."""
        with _parents_signals_blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jahp_fast.batch.worker", dumped(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | dict.fromkeys(ONE_THREAD, "1") | {PARENT: str(os.getpid())},
                creationflags=_FLAGS,
            )
        self.job: Job | None = None
        self.tries = 0
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def _read(self, lines: _Lines) -> None:
        with cast(IO[bytes], self.process.stdout) as output:
            for line in output:
                if line.endswith(b"\n"):  # else it died as it wrote
                    lines.put((self, line))
        lines.put((self, b""))

    def give(self, job: Job, tries: int) -> None:
        self.job, self.tries = job, tries
        stdin = cast(IO[bytes], self.process.stdin)
        with contextlib.suppress(OSError):  # it has died: its output ends, and that is seen
            stdin.write(dumped(job).encode() + b"\n")
            stdin.flush()

    def taken(self, line: bytes) -> Outcome:
        fields = json.loads(line)
        fields["job"], self.job = Job(**fields["job"]), None
        return Outcome(**fields)

    def end(self) -> None:
        """No more jobs."""
        with contextlib.suppress(OSError):
            cast(IO[bytes], self.process.stdin).close()

    def reap(self) -> int:
        """Waits for its end; its exit status."""
        self.end()
        status = self.process.wait()
        self._reader.join()
        return status


_Lines = queue.SimpleQueue[tuple[_Worker, bytes]]


def run_here(task: Task, jobs: Iterator[Job], workers: int | None, stopped: Callable[[], bool]) -> Generator[Outcome | None, None, None]:
    """Outcomes in the order in which they come, and None now and then while there are none.

    When `stopped` says so no more jobs are given out; what is being worked on is finished, within GRACE_S.

    workers: by default as many as there are cores for this process.

    Raises JahpError where workers die before they do anything.
    """
    pool: list[_Worker] = []
    again: deque[tuple[Job, int]] = deque()
    lines: _Lines = queue.SimpleQueue()
    proven = False  # some worker has finished something

    def next_job() -> tuple[Job, int] | None:
        if stopped():
            return None
        if again:
            return again.popleft()
        job = next(jobs, None)
        return None if job is None else (job, 0)

    def start() -> bool:
        item = next_job()
        if item is None:
            return False
        worker = _Worker(task, lines)
        pool.append(worker)
        worker.give(*item)
        return True

    def drop(worker: _Worker) -> int:
        pool.remove(worker)
        return worker.reap()

    deadline = None
    try:
        while len(pool) < (workers or available_cores()) and start():
            pass
        while pool:
            if stopped() and deadline is None:
                deadline = time.monotonic() + GRACE_S
            if deadline is not None and time.monotonic() > deadline:
                return
            try:
                worker, line = lines.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if worker not in pool:  # the end of one that was dropped
                continue
            if not line:
                job, tries = cast(Job, worker.job), worker.tries + 1
                status = drop(worker)
                if not proven and tries >= TRIES:
                    raise JahpError(f"workers end with status {status} before they do anything; their messages are above")
                if tries < TRIES:
                    again.append((job, tries))
                else:
                    yield Outcome(job, "WorkerDied", f"the worker process ended with status {status}, twice")
                start()
                continue
            outcome = worker.taken(line)
            proven = True
            yield outcome
            item = next_job()
            if item is None:
                drop(worker)
            else:
                worker.give(*item)
    finally:
        for worker in pool:
            worker.process.kill()
            worker.reap()
