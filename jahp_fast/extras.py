# SPDX-License-Identifier: Apache-2.0
"""Packages that only some parts need, and what is said where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from jahp_fast.errors import MissingExtra

_PACKAGES = {"torch": ("torch",), "train": ("torch", "pytorch_msssim", "matplotlib"), "triton": ("triton",)}
"""Extra of pyproject.toml -> modules."""


def require(extra: str, what: str) -> None:
    """Raises MissingExtra if a module of the extra is not installed; `what`, a noun, is what needs it. Imports nothing."""
    missing = [module for module in _PACKAGES[extra] if find_spec(module) is None]
    if missing:
        verb = "are" if len(missing) > 1 else "is"
        raise MissingExtra(f"{what} needs {' and '.join(missing)}, which {verb} not installed: pip install 'jahp_fast[{extra}]'")
