# SPDX-License-Identifier: Apache-2.0
"""Several items at a time: order, errors and their numbers, threads."""

import threading
import time

import pytest

from jahp_fast.errors import FormatError, UsageError
from jahp_fast.system.parallel import each, shared_out


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_errors(workers):
    assert each(lambda x: x * x, range(20), workers) == [x * x for x in range(20)]
    assert each(lambda x: x, [], workers) == []

    def odd(x):
        if x % 2:
            raise FormatError(f"{x} is odd")
        return x

    with pytest.raises(FormatError, match=r"^image 1: 5 is odd$") as caught:
        each(odd, [4, 5, 6, 7], workers)
    assert caught.value.__context__ is None
    with pytest.raises(FormatError, match=r"^image 30: 7 is odd$"):
        each(odd, [4, 7], workers, labels=[20, 30])
    with pytest.raises(FormatError, match=r"^5 is odd$"):
        each(odd, [5], workers)
    with pytest.raises(FormatError, match=r"^image 9: 5 is odd$"):
        each(odd, [5], workers, labels=[9])

    def broken(x):
        raise ZeroDivisionError  # a fault of the program is not the image's

    with pytest.raises(ZeroDivisionError):
        each(broken, [1, 2], workers)


def test_workers_run_side_by_side():
    meeting = threading.Barrier(3, timeout=20)
    assert each(lambda x: meeting.wait() >= 0, range(3), 3) == [True] * 3


def test_what_comes_behind_an_error_is_not_begun():
    begun = []

    def first_fails(x):
        begun.append(x)
        if x == 0:
            raise UsageError("no")
        time.sleep(0.05)  # the caller has 5 s to hear of the error, on however busy a machine

    with pytest.raises(UsageError, match="image 0"):
        each(first_fails, range(200), 2)
    assert len(begun) < 200


def test_threads_are_shared_out():
    assert [shared_out(8, n) for n in (0, 1, 2, 3, 8, 100)] == [(1, 8), (1, 8), (2, 4), (3, 2), (8, 1), (8, 1)]
    assert shared_out(1, 5) == (1, 1)
