# SPDX-License-Identifier: Apache-2.0
"""jahp_fast: a learned image codec that is fast to decode and decodes to the same latents everywhere."""

__version__ = "0.1.0"
