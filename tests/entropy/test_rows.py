# SPDX-License-Identifier: Apache-2.0
"""A decode that is handed over by rows, and what it makes by bands of rows, against the plain one."""

import numpy as np
import pytest
from builders import Case, random_latents, random_model

from jahp_fast import UsageError, _native
from jahp_fast.backends import WholeDecode
from jahp_fast.backends.native import NativeBackend
from jahp_fast.entropy import reference
from jahp_fast.entropy.layout import Part, StreamLayout

HEIGHT, WIDTH = 133, 3
"""More rows than h_s makes at a time, twice, and than may wait to be taken."""


@pytest.mark.parametrize("architecture", ["mbt2018", "mbt2018-mean"])
def test_parts_of_tall_pictures(tmp_path, architecture):
    model = random_model(tmp_path / "m.safetensors", Case(architecture), seed=3, N=2, M=3)
    z, y = random_latents(model, HEIGHT, WIDTH, seed=4, wild=0)
    payload, seen, lanes = reference.encode(reference.ReferenceModel(model), z, y, StreamLayout(HEIGHT, WIDTH, 0))
    layout = StreamLayout(HEIGHT, WIDTH, lanes)
    backend = NativeBackend(model)
    assert np.array_equal(backend.decode(payload, layout, 1)[1], seen)
    for part in (Part((0, HEIGHT), (0, WIDTH)), Part((60, 70), (1, 2)), Part((HEIGHT - 1, HEIGHT), (0, 2)), Part((0, 1), (2, 3))):
        for started in (backend.start_rows(payload, layout, 2, part), WholeDecode(z, seen, part)):
            blocks = []
            while sum(map(len, blocks)) < part.rows[1] - part.rows[0]:
                blocks.append(started.rows(4))
            assert not len(started.rows(4))
            assert np.array_equal(np.concatenate(blocks), part.of(seen))
            assert started.finish() == _native.symbol_checksum(z, seen)
    with pytest.raises(UsageError, match="window"):
        backend.start_rows(payload, layout, 1, Part((0, HEIGHT + 1), (0, WIDTH)))
