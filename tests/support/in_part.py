# SPDX-License-Identifier: Apache-2.0
"""Families of tests that are alike: a part of each is fast."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(number: int, values: Iterable[Any]) -> list[Any]:
    """For pytest.mark.parametrize over one name: all values, of which every `number`-th is fast, the first among them."""
    return [pytest.param(value, marks=[pytest.mark.slow] if i % number else []) for i, value in enumerate(values)]
