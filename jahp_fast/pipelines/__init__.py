# SPDX-License-Identifier: Apache-2.0
"""A model with its backend and transforms on one device, and what they share."""
