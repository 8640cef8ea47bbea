# SPDX-License-Identifier: Apache-2.0
"""Training: `command` (`jahp train`), `loop`, `data`, `loss`, `optimizer`, `checkpoint`, `report`, `preload`.

Importing this package loads nothing; `command` loads torch when it runs.
"""
