# SPDX-License-Identifier: Apache-2.0
"""Accelerator kernels; installed as `jahp_fast.kernels`. Nothing here is imported unless a backend asks for it."""
