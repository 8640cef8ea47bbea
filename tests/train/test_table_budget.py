# SPDX-License-Identifier: Apache-2.0
"""benchmarks/table_budget.py: tables of another precision."""

from table_budget import Budget, tables

from jahp_fast.models import registry


def test_finer_tables_are_larger():
    model = registry.build("mbt2018", 8, 12).eval()
    budgets = (Budget(count=48), Budget(tail=0.25), Budget(wide=0.0), Budget(), Budget(cells=40), Budget(count=96))
    *coarse, shipped, finer, finest = [sum(row.size for row in tables(model, budget).rows) for budget in budgets]
    assert max(coarse) < shipped < finer < finest
