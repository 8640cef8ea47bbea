# SPDX-License-Identifier: Apache-2.0
"""What an encoder may do beyond rounding: better symbols, and a quality for a wanted size."""
