# SPDX-License-Identifier: Apache-2.0
"""What kernels of a device write into a status instead of raising. kernels/cuda/coder.cuh has the same names and numbers."""

from enum import IntEnum


class Status(IntEnum):
    """Code of a stream: the first fault in coding order, and of one symbol's faults the least code."""

    SOUND = 0
    TOO_SHORT = 1
    TOO_MANY_ESCAPES = 2
    LOW_STATE = 3
    WORDS_END = 4
    ESCAPES_END = 5
    NEEDLESS_ESCAPE = 6
    BEYOND = 7
    BAD_END = 8
    ESCAPES_LEFT = 9
    BYTES_LEFT = 10
    BAD_SIZE = 11


STATUS: dict[int, str] = {
    Status.TOO_SHORT: "the payload is too short for its lane states",
    Status.TOO_MANY_ESCAPES: "the payload claims more escapes than it has symbols, or than it holds",
    Status.LOW_STATE: "the state of lane {detail} is below 2^16",
    Status.WORDS_END: "the words end before symbol {detail}",
    Status.ESCAPES_END: "the escapes end before symbol {detail}",
    Status.NEEDLESS_ESCAPE: "symbol {detail} is an escape that its table could have coded",
    Status.BEYOND: "symbol {detail} is beyond its range",
    Status.BAD_END: "the state of lane {detail} does not end at 2^16",
    Status.ESCAPES_LEFT: "escapes are left over",
    Status.BYTES_LEFT: "bytes are left over behind the last word",
    Status.BAD_SIZE: "the payload's size is not within its buffer",
}
"""What each says; `detail` is a lane, or a symbol counted in coding order."""
