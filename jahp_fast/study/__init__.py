# SPDX-License-Identifier: Apache-2.0
"""`jahp study`: what each part of the entropy model is worth, one factor at a time, at equal budgets."""
