# SPDX-License-Identifier: Apache-2.0
"""A file as a sign that a folder is in use: locked until it is closed or its process ends, however it ends."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

FAR = 1 << 30
"""The byte that is locked on Windows, where a locked byte cannot be read: behind all that the file holds."""

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[Any]) -> bool:
        """Locks an open file for this process, without waiting. Returns whether it is locked; False where another has it."""
        at = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        os.lseek(file.fileno(), FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file.fileno(), at, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock(file: IO[Any]) -> bool:
        """Locks an open file for this process, without waiting. Returns whether it is locked; False where another has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
