# SPDX-License-Identifier: Apache-2.0
"""A file may hold a checksum of its pixels, by which a decoder proves itself right."""

from dataclasses import replace

import independent
import numpy as np
import pytest
from builders import SHIPPED

from jahp_fast import Codec, FormatError
from jahp_fast.cli import main
from jahp_fast.files import container


def changed(data, value):
    stream = container.unpack(data)
    return container.pack(replace(stream, chunks={**stream.chunks, b"pcrc": value}))


def pictures(crop):
    return [crop[:45, :70], crop[:45, :70, 0], np.dstack([crop[:33, :50], crop[:33, :50, :1]]), crop[:1, :2]]


def test_it_is_the_pixels(photo_crop):
    """Of colours, grey and with alpha; by decode, rows, tensors, batches and the decoder of the page."""
    codec, plain = Codec(pixel_checksum=True), Codec()
    files = codec.encode_batch(pictures(photo_crop))
    for image, data in zip(pictures(photo_crop), files, strict=True):
        assert data == codec.encode(image) == codec.encode_timed(image)[0]
        bare = plain.encode(image)
        assert len(data) == len(bare) + 12
        assert b"pcrc" not in container.unpack(bare).chunks
        shown = plain.decode(data)
        assert np.array_equal(shown, plain.decode(bare))
        assert np.array_equal(np.concatenate(list(plain.decode_rows(data))), shown)
        stream = independent.parse(data)
        model = independent.Model(SHIPPED)
        independent.samples(stream, model, independent.decode(stream, model)[1])
        wrong = changed(data, bytes([container.unpack(data).chunks[b"pcrc"][0] ^ 1]) + container.unpack(data).chunks[b"pcrc"][1:])
        for read in (plain.decode, plain.decode_tensor, plain.decode_timed, lambda d: list(plain.decode_rows(d)), codec.decode_pil):
            with pytest.raises(FormatError, match="checksum of the pixels does not match"):
                read(wrong)
        with pytest.raises(FormatError, match=r"^image 1: the checksum of the pixels"):
            plain.decode_batch([data, wrong])
        with pytest.raises(independent.Refused, match="checksum of the pixels"):
            independent.samples(independent.parse(wrong), model, independent.decode(stream, model)[1])
        assert plain.decode_latents(wrong).y.shape == plain.decode_latents(data).y.shape


def test_it_has_four_bytes(photo_crop):
    data = Codec(pixel_checksum=True).encode(photo_crop[:40, :40])
    for value in (b"", bytes(3), bytes(5)):
        with pytest.raises(FormatError, match=rf"chunk 'pcrc' has {len(value)} bytes, not 4"):
            Codec().decode(changed(data, value))
        with pytest.raises(independent.Refused, match="pcrc"):
            independent.parse(changed(data, value))


def test_sizes_and_efforts_count_it(photo_crop):
    codec = Codec(pixel_checksum=True)
    for options in ({"max_bytes": 700}, {"effort": 1}, {"effort": 1, "max_bytes": 700}):
        data = codec.encode(photo_crop, **options)
        assert len(data) <= options.get("max_bytes", 10**6)
        assert b"pcrc" in container.unpack(data).chunks
        assert Codec().decode(data).shape == photo_crop.shape


def test_command(photo_crop, tmp_path):
    from PIL import Image

    Image.fromarray(photo_crop[:50, :60]).save(tmp_path / "a.png")
    assert main(["encode", str(tmp_path / "a.png"), str(tmp_path / "a.jahp"), "--pixel-checksum"]) == 0
    data = (tmp_path / "a.jahp").read_bytes()
    assert data == Codec(pixel_checksum=True).encode(photo_crop[:50, :60])
    (tmp_path / "b.jahp").write_bytes(changed(data, bytes(4)))
    assert main(["decode", str(tmp_path / "a.jahp"), str(tmp_path / "a2.png")]) == 0
    assert main(["decode", str(tmp_path / "b.jahp"), str(tmp_path / "b.png")]) == 1
    assert not (tmp_path / "b.png").exists()
