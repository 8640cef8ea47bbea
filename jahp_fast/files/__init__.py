# SPDX-License-Identifier: Apache-2.0
"""Streams and pictures: what lies on a disk, in and out."""
