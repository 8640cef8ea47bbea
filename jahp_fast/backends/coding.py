# SPDX-License-Identifier: Apache-2.0
"""Range coding on the host of symbols whose table rows a device has computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jahp_fast import _native
from jahp_fast.backends import Ints
from jahp_fast.entropy.layout import LANE_COUNTS, MAX_SYMBOL, StreamLayout
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import UsageError


class SymbolCoder:
    """A model's tables. `code` gives, byte for byte, what the native backend's encoder gives."""

    def __init__(self, model: ModelFile) -> None:
        t = model.entropy
        self._config = model.config
        self._slope = t["context_prediction.weight"].shape[-1] // 2 + 1 if model.config.context else 0
        self._low, self._size, self._starts = t["tables.low"], t["tables.size"], t["tables.starts"]
        self._tables = _native.CdfTables(model.config.prob_bits, self._low, self._size, self._starts)

    def code(self, z: Ints, y: Ints, rows: Ints, shifts: Ints, layout: StreamLayout) -> tuple[bytes, Ints, int]:
        """-> payload, y as the decoder will see it, and the lanes, chosen by size if layout.lanes is 0.

        Args:
            z, y: as Backend.encode takes them.
            rows: (h * w, M), by row and column: the table's row of each symbol of y, -1 for one that is not coded.
            shifts: likewise, what the decoder adds: the whole part of the mean in form A, the mean in form B; all of a symbol that is
                not coded.

        Raises:
            UsageError: a symbol beyond 32767, or impossible lanes.
        """
        c, shape = self._config, y.shape
        y = y.reshape(-1, c.latents)
        coded = rows >= 0
        seen, wide, shift = y.astype(np.int64), y.astype(np.int64), np.where(coded, shifts, 0)
        if c.form == "B":
            wide = (wide - shifts + (1 << c.mean_bits >> 1)) >> c.mean_bits
            seen, shift = (wide << c.mean_bits) + shifts, np.zeros_like(shift)
        seen = np.where(coded, seen, shifts)
        for values, most in ((wide[coded], MAX_SYMBOL), (z, MAX_SYMBOL), (seen, MAX_SYMBOL << c.frac_bits)):
            bad = values[np.abs(values.astype(np.int64)) > most]
            if len(bad):
                raise UsageError(f"symbol {bad[0] / (most // MAX_SYMBOL):g} is beyond {MAX_SYMBOL}")
        order = coding_order(layout, self._slope)
        kept = coded[order]
        rank = (np.cumsum(kept, 1) - 1)[kept]
        hyper = np.tile(np.arange(c.hyper_latents), z.shape[0] * z.shape[1])
        columns = [
            np.concatenate([hyper, rank]),
            np.concatenate([layout.z_row + hyper, rows[order][kept]]),
            np.concatenate([z.ravel(), wide[order][kept]]),
            np.concatenate([np.zeros_like(hyper), shift[order][kept]]),
        ]
        lanes = layout.lanes or self._choose_lanes(*columns[1:])
        if lanes not in LANE_COUNTS:
            raise UsageError(f"lanes must be one of {LANE_COUNTS}, not {lanes}")
        columns[0] %= lanes
        arrays = [np.ascontiguousarray(column, np.int32) for column in columns]
        payload = _native.range_encode(self._tables, lanes, arrays[0], arrays[1], arrays[2], arrays[3], layout.min_bytes)
        return payload, seen.astype(np.int32).reshape(shape), lanes

    def _choose_lanes(self, row: NDArray[np.int64], value: NDArray[np.int64], shift: NDArray[np.int64]) -> int:
        """See reference.RangeEncoder.choose_lanes."""
        bits = self._config.prob_bits
        size = self._size.astype(np.int64)
        first = np.cumsum(size + 1) - (size + 1)
        starts = self._starts.astype(np.int64)
        ends = np.append(starts[1:], 0)
        ends[first + size] = 1 << bits
        frequency = ends - starts
        log2 = np.frexp(frequency.astype(np.float64))[1].astype(np.int64) - 1  # exact: a float64 holds them
        price = 64 * bits - 64 * log2 - ((frequency << 6 >> log2) - 64)
        k = value - shift - self._low[row]
        escape = (k < 0) | (k >= size[row])
        cost = int(price[first[row] + np.where(escape, size[row], k)].sum()) + 16 * 64 * int(escape.sum())
        return max([1] + [n for n in LANE_COUNTS if n * 4 * 200 <= cost // (64 * 8)])


def coding_order(layout: StreamLayout, slope: int) -> NDArray[np.int64]:
    """Numbers of the positions of y, by row and column, in the order of docs/reference/format.md."""
    row, column = np.divmod(np.arange(layout.height * layout.width), layout.width)
    return np.lexsort((row, column + slope * row)) if slope else np.arange(len(row))
