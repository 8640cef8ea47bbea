# SPDX-License-Identifier: Apache-2.0
"""A decoder of .jahp files written from docs/reference/format.md alone: NumPy and the standard library, nothing of jahp_fast.

    python -m tests.independent FILE --model MODEL.safetensors [--model ...]

prints the control points of the file ("Control points" in docs/reference/format.md) as JSON. Whatever breaks a rule
of the page raises Refused.
"""

from .decode import checksum, decode, digest
from .model_file import Model
from .pixels import samples
from .rules import Refused
from .stream_file import StreamFile, parse

__all__ = ["Model", "Refused", "StreamFile", "checksum", "decode", "digest", "parse", "samples"]
