# SPDX-License-Identifier: Apache-2.0
"""g_a, g_s and h_a: on a CPU, in plain NumPy, and on a torch device."""
