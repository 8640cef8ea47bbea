# SPDX-License-Identifier: Apache-2.0
"""Ten thousand damaged and lying streams: each ends in a JahpError, or in the same pixels where nothing that matters was changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

MUTANTS = 10_000
SEED = 1


def test_hostile_streams(tiny_models, tmp_path):
    folder = next(iter(tiny_models.values())).parent
    progress = tmp_path / "progress"
    worker = Path(__file__).parents[1] / "support" / "hostile_worker.py"
    command = [sys.executable, worker, folder, str(SEED), "0", str(MUTANTS), progress]
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # else threads reserve address space that the worker's limit counts
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=900, check=False, env=environment)
    at = progress.read_text().strip() if progress.exists() else "none"
    assert done.returncode == 0, f"seed {SEED}, index {at}: exit status {done.returncode}\n{done.stderr[-3000:]}"
    report = json.loads(done.stdout)
    print(json.dumps(report, indent=1))
    assert report["broken"] == []
    outcomes = report["outcomes"]
    assert sum(outcomes.values()) == MUTANTS
    assert report["extra_megabytes"] < 200
    # The mutants must reach every check, and some must be harmless, or nothing was tested.
    for check, least in {
        "FormatError: CRC": 300, "FormatError: file ": 300, "FormatError: not a": 100, "FormatError: version": 50, "FormatError: image": 50,
        "FormatError: quality code": 50, "FormatError: a reserved": 20, "FormatError: chunk": 50, "FormatError: critical chunk": 20,
        "FormatError: alpha": 5, "FormatError: payload of": 20, "FormatError: payload ends before": 300,
        "FormatError: escape of": 300, "FormatError: payload has": 50,
        "FormatError: payload claims": 100, "FormatError: the checksum of the decoded symbols": 50, "FormatError: lane # does not end": 500,
        "FormatError: state of lane": 50, "FormatError: #^# lanes": 20, "UnknownModel": 5,
        "same pixels": 100, "same latents, forged header": 20, "other pixels, all forged": 100,
    }.items():  # fmt: skip
        assert sum(n for outcome, n in outcomes.items() if outcome.startswith(check)) >= least, (check, outcomes)
