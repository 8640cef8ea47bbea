# SPDX-License-Identifier: Apache-2.0
"""`jahp batch encode|decode SRC DST`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from jahp_fast.batch.jobs import JAHP, jobs, sweep
from jahp_fast.batch.pool import run_here
from jahp_fast.batch.progress import Progress
from jahp_fast.batch.work import Job, Outcome, Task
from jahp_fast.batch.written import RECORD, Record, asked_of, is_done, may_be_drawn, why_not
from jahp_fast.errors import JahpError, UsageError
from jahp_fast.files.outputs import asked_bound, bound_options, save_option
from jahp_fast.files.pictures import format_of, save_options
from jahp_fast.local import settings
from jahp_fast.system.file_lock import try_lock

JOURNAL = "jahp-batch.jsonl"
_Executor = Callable[[Task, Iterator[Job], int | None, Callable[[], bool]], Generator[Outcome | None, None, None]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Encodes every image below SRC, or decodes every .jahp file, into the same folders below DST, in worker processes of one thread "
        f"each. Files appear whole or not at all; a run that was killed goes on with --resume. DST/{JOURNAL} has a line of JSON for each "
        "file that failed and each folder that cannot be read, and the exit status is 1 if there was one. Of what is in "
        "DST only files are replaced that this command wrote and that nobody has changed since "
        f"(DST/{RECORD} has their sizes and checksums): any other one counts as failed without --overwrite. "
        "Folders behind symbolic links are left out, with a line on standard error; links to files are followed."
    )
    parser.add_argument("direction", choices=("encode", "decode"), help="images to .jahp files, or back")
    parser.add_argument("source", metavar="SRC", help="searched in depth; hidden files and folders are left out")
    parser.add_argument("target", metavar="DST", help="made if it is missing")
    parser.add_argument("-q", "--quality", type=float, help="of encode: 1 to 12 (default 4)")
    bound_options(parser)
    parser.add_argument("--model", metavar="NAME|FILE", help="a model's name or its .safetensors file (default: mbt2018)")
    parser.add_argument("--to", metavar="FORMAT", help="of decode: the format's file ending (default png)")
    parser.add_argument("--auto-orient", action="store_true", help="of encode: turn pixels as EXIF says, and clear that; else it is kept")
    save_option(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--resume", action="store_true",
                        help="leave out files that are done: there, whole, not older, same model and quality")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true",
                        help="replace files in DST that this command did not write, or not as they are")  # fmt: skip
    parser.add_argument("--ray", action="store_true", help="work on the Ray cluster of RAY_ADDRESS, or a new one on this machine; both "
                                                           "folders must be on a file system that all nodes share")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    task, model = _task(args)
    asked = asked_of(task, model)
    source, target = Path(args.source), Path(args.target)
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder")
    if args.workers is not None and not 1 <= args.workers <= 1024:
        raise UsageError(f"--workers must be 1 to 1024, not {args.workers}")
    run_jobs = _executor(args.ray)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise JahpError(f"cannot make {target}: {e.strerror}") from None
    with _journal(target / JOURNAL, args.resume) as journal, _signals() as stopped:
        sweep(target)
        progress, record = Progress(sum(1 for _ in jobs(task, source, target))), Record(target)

        def left_out(folder: str) -> None:
            progress.clear()
            print(f"jahp batch: {folder} is a link to a folder, and left out", file=sys.stderr)

        def todo() -> Iterator[Job]:
            for job in jobs(task, source, target, left_out):
                progress.show()
                if stopped():
                    return
                if isinstance(job, Outcome):
                    _count(job, asked, progress, journal, record)
                elif args.resume and is_done(task, job, model, record):
                    progress.skipped += 1
                elif why := why_not(task, job, record, args.overwrite):
                    if args.resume and may_be_drawn(task, job, record):
                        yield replace(job, otherwise=why)
                        continue
                    _count(Outcome(job, "NotWritten", why), asked, progress, journal, record)
                else:
                    yield job

        with record.kept(), contextlib.closing(run_jobs(task, todo(), args.workers, stopped)) as outcomes:
            for outcome in outcomes:
                if outcome is not None:
                    _count(outcome, asked, progress, journal, record)
                progress.show()
        progress.clear()
        return _end(progress, target / JOURNAL, bool(stopped()))


def _task(args: argparse.Namespace) -> tuple[Task, bytes]:
    """The task, and the id of the model that encodes. Raises what Codec raises, before anything is started."""
    from jahp_fast.codec import Codec

    encode = args.direction == "encode"
    if args.quality is not None and not encode:
        raise UsageError("-q is for encode: a decoder takes the quality from the file")
    bound = asked_bound(args)
    if bound is not None and not encode:
        raise UsageError("--lossless and --max-error are for encode")
    if args.to is not None and encode:
        raise UsageError("--to is for decode")
    suffix = JAHP if encode else "." + (args.to or "png").lower().removeprefix(".")
    if encode and args.save_option:
        raise UsageError("--save-option is for decode")
    if args.auto_orient and not encode:
        raise UsageError("--auto-orient is for encode")
    if not encode and format_of(suffix) is None:
        raise UsageError(f"Pillow writes no format of the ending {suffix}; png always works")
    name, models = args.model or "mbt2018", []
    if args.model and Path(args.model).suffix == ".safetensors":
        name, models = Path(args.model).stem, [os.path.abspath(args.model)]
    quality = 4.0 if args.quality is None else args.quality
    if not encode:
        from jahp_fast import library

        quality = library.by_name(name, models).config.qualities[0]  # any that the model has: decoders do not use it
    codec = Codec(name, quality=quality, models=models)
    options = tuple(save_options(args.save_option).items())
    task = Task(args.direction, settings(name, codec.quality, models), suffix, args.auto_orient, bound, options)
    return task, bytes.fromhex(codec.model_id)


def _executor(on_ray: bool) -> _Executor:
    if not on_ray:
        return run_here
    from jahp_fast.integrations.ray import connect, run_on_cluster

    connect()  # now, because it installs handlers of signals of its own
    return run_on_cluster


@contextlib.contextmanager
def _journal(path: Path, keep: bool) -> Iterator[IO[str]]:
    """The journal, emptied unless `keep`; locked, because two runs would sweep away each other's files."""
    try:
        journal = open(path, "a+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    except OSError as e:
        raise JahpError(f"cannot write {path}: {e.strerror or e}") from None
    with journal:
        if not try_lock(journal):
            raise JahpError(f"another jahp batch is writing to {path.parent}")
        if not keep:
            journal.truncate(0)
        yield journal


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come. The second one ends the process as if there were no handler."""
    seen: list[int] = []

    def handler(number: int, _: Any) -> None:
        seen.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _count(outcome: Outcome, asked: str, progress: Progress, journal: IO[str], record: Record) -> None:
    if not outcome.error:
        record.add(outcome, asked)
        progress.done += 1
        progress.bytes_in += outcome.bytes_in
        progress.bytes_out += outcome.bytes_out
        if outcome.notes:
            progress.clear()
        for note in outcome.notes:
            print(f"jahp batch: {outcome.job.name}: {note}", file=sys.stderr, flush=True)
        return
    progress.failed += 1
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": when, "file": outcome.job.name, "error": outcome.error, "message": outcome.message}
    try:
        journal.write(json.dumps(line) + "\n")
        journal.flush()
    except OSError as e:
        raise JahpError(f"cannot write {journal.name}: {e.strerror}") from None


def _end(progress: Progress, journal: Path, stopped: bool) -> int:
    seconds = max(time.monotonic() - progress.started, 1e-9)
    parts = [f"{progress.done} files done in {seconds:.1f} s ({progress.done / seconds:.1f}/s, {progress.bytes_in} bytes to "
             f"{progress.bytes_out})"]  # fmt: skip
    if progress.skipped:
        parts.append(f"{progress.skipped} were done before")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    print(", ".join(parts), flush=True)
    if stopped:
        raise JahpError("interrupted: the same command with --resume goes on")
    if progress.failed:
        raise JahpError(f"{progress.failed} files failed; {journal} says why")
    return 0
