# SPDX-License-Identifier: Apache-2.0
"""The exact entropy path: model files, integer networks, probability tables, and the NumPy decoder."""
