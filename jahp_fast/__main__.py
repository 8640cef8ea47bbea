# SPDX-License-Identifier: Apache-2.0
"""The command `jahp`, and `python -m jahp_fast`: Ctrl-C while modules still load ends it as it does later."""

import sys

from jahp_fast.system.console import exit_status


def main() -> int:
    """Runs one command; returns its exit status."""

    def run() -> int:
        from jahp_fast.cli import main as command

        return command()

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
