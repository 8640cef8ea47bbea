# SPDX-License-Identifier: Apache-2.0
"""benchmarks/table_budget.py: tables of another precision."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from table_budget import Budget, tables  # noqa: E402

from jahp_fast.models import registry  # noqa: E402


def test_finer_tables_are_larger():
    model = registry.build("mbt2018", 8, 12).eval()
    budgets = (Budget(count=48), Budget(tail=0.25), Budget(wide=0.0), Budget(), Budget(cells=40), Budget(count=96))
    *coarse, shipped, finer, finest = [sum(row.size for row in tables(model, budget).rows) for budget in budgets]
    assert max(coarse) < shipped < finer < finest
