# SPDX-License-Identifier: Apache-2.0
"""The model definitions: `layers` (GDN, masked convolution, entropy models), `priors` (five models), `registry` (build, load).

They are torch's modules. Importing this package loads nothing, but says so where torch is missing.
"""

from jahp_fast.system.extras import require_torch

require_torch("jahp_fast.models")
