# SPDX-License-Identifier: Apache-2.0
"""From float weights to a model file of integers."""
