# SPDX-License-Identifier: Apache-2.0
"""Measuring: distortion metrics, `jahp eval` (rate-distortion tables of this and other codecs) and `jahp demo`."""
