# SPDX-License-Identifier: Apache-2.0
"""A worker process of `jahp batch`: its task as the argument, a job a line in, an outcome a line out, JSON all of it.

It ends at the end of its input. When whoever started it is killed it is killed too (on Linux; elsewhere it ends after the job that it
has), so that no file is written once the next run may have started.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import sys

from jahp_fast.batch.work import Job, Task, process

PARENT = "JAHP_BATCH_PARENT"
"""Variable with the process that started the worker."""
_PR_SET_PDEATHSIG = 1


def dumped(value: Task | Job) -> str:
    """One line. Names that are not UTF-8 survive as lone surrogates."""
    return json.dumps(dataclasses.asdict(value))


def die_with_parent(parent: int) -> None:
    """On Linux: SIGKILL for this process as soon as `parent`, which must have started it, has ended; at once if it has by now."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    die_with_parent(int(os.environ[PARENT]))
    fields = json.loads(sys.argv[1])
    model, quality, models = fields.pop("codec")
    task = Task(codec=(model, quality, tuple(models)), **fields)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    for line in sys.stdin:
        outcome = process(task, Job(**json.loads(line)))
        answers.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
