# SPDX-License-Identifier: Apache-2.0
"""The consumer's program runs; `make lint` checks its types, and check_packages.py both beside the wheel."""

import consumer


def test_the_consumers_program_runs(capsys):
    consumer.main()
    assert "file has" in capsys.readouterr().out
