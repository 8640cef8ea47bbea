# SPDX-License-Identifier: Apache-2.0
"""Model files of all releases of jahp_fast, which looks here for those that it has not itself."""
