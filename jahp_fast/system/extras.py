# SPDX-License-Identifier: Apache-2.0
"""torch, which only some parts need, and what is said where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from jahp_fast.errors import MissingExtra


def require_torch(what: str, extra: str = "torch") -> None:
    """Raises MissingExtra if torch is not installed. Imports nothing.

    Args:
        what: a noun: what needs it.
        extra: of pyproject.toml, to install.
    """
    if find_spec("torch") is None:
        raise MissingExtra(f"{what} needs torch, which is not installed: pip install 'jahp_fast[{extra}]'")
