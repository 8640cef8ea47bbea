# SPDX-License-Identifier: Apache-2.0
"""How the second decoder refuses."""

from __future__ import annotations


class Refused(Exception):
    """A rule of the page does not hold."""


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise Refused(rule)
