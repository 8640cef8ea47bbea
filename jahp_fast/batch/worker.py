# SPDX-License-Identifier: Apache-2.0
"""A worker process of `jahp batch`: its task as the argument, a job a line in, an outcome a line out, JSON all of it.

It ends at the end of its input, also when whoever started it was killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

from jahp_fast.batch.work import Job, Task, process


def dumped(value: Task | Job) -> str:
    """One line. Names that are not UTF-8 survive as lone surrogates."""
    return json.dumps(dataclasses.asdict(value))


def main() -> None:
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
