# SPDX-License-Identifier: Apache-2.0
"""`python -m jahp_fast` is `jahp`."""

import sys

from jahp_fast.cli import main

sys.exit(main())
