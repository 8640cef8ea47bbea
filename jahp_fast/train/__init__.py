# SPDX-License-Identifier: Apache-2.0
"""Training: `command` (`jahp train`), `loop`, `process`, `start`, `data`, `resident`, `captured`, `loss`, `optimizer`, `soap`,
`checkpoint`, `report`, `ranks`, `preload`, `settings`; `synthetic` pictures, of `shades`, `graphics`, `sketches`
and `canvas`.

Importing this package loads nothing, but says so where torch is missing; `command` loads torch when it runs.
"""

from jahp_fast.system.extras import require_torch

require_torch("training or exporting a model", "train")
