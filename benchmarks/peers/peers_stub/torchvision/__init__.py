# SPDX-License-Identifier: Apache-2.0
"""Stand-in for torchvision in the peers' environment: CompressAI imports `torchvision.transforms` when it is imported and
uses none of it to code images, and the real package must match torch's build exactly."""

from . import transforms

__all__ = ["transforms"]
