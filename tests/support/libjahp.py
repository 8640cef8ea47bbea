# SPDX-License-Identifier: Apache-2.0
"""libjahp's C interface (csrc/include/jahp.h) by ctypes, for tests: what it refuses becomes the package's errors."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jahp_fast import errors

BUILT = Path(__file__).parents[2] / "build" / "test" / "libjahp.so"
CANCEL = ctypes.CFUNCTYPE(c_int, c_void_p)
THREADS, MAX_PIXELS, CHANNELS, MAX_BYTES, MAX_ERROR, PIXEL_CHECKSUM, SAMPLE_BITS, DEPTH, DRAWINGS = range(1, 10)
NO_BOUND = 2 ** (8 * ctypes.sizeof(c_size_t)) - 1


class Cancelled(Exception):
    """The caller's function said so."""


ERRORS: dict[int, type[Exception]] = {
    1: errors.FormatError, 2: errors.ModelError, 3: errors.UnknownModel, 4: errors.UnsupportedImage, 5: errors.UsageError,
    6: MemoryError, 7: Cancelled, 8: RuntimeError,
}  # fmt: skip


class ModelInfo(ctypes.Structure):
    _fields_ = (("id", c_char * 17), ("architecture", c_char * 31), ("lowest", c_double), ("highest", c_double))


class Info(ctypes.Structure):
    _fields_ = (
        ("width", c_uint32), ("height", c_uint32), ("channels", c_uint32), ("grey", c_uint32), ("alpha", c_uint32), ("max_error", c_int32),
        ("quality", c_double), ("base_quality", c_double), ("model", c_char * 17),
        ("lanes", c_uint8), ("skip", c_uint8), ("depth", c_uint8), ("pixels_size", c_uint64), ("payload_size", c_uint64),
        ("view_width", c_uint32), ("view_height", c_uint32),
    )  # fmt: skip


class Region(ctypes.Structure):
    _fields_ = tuple((name, c_int64) for name in ("left", "top", "width", "height"))


@cache
def library() -> ctypes.CDLL:
    """The shared library that `make cpp-test` and `make library` build; without it the test is skipped."""
    if not BUILT.is_file():
        pytest.skip("libjahp is not built: make library")
    lib = ctypes.CDLL(str(BUILT))
    for kind in ("model", "decoder", "encoder"):
        getattr(lib, f"jahp_{kind}_new").restype = c_void_p
        getattr(lib, f"jahp_{kind}_free").argtypes = [c_void_p]
        getattr(lib, f"jahp_{kind}_message").argtypes = [c_void_p]
        getattr(lib, f"jahp_{kind}_message").restype = c_char_p
    for kind in ("decoder", "encoder"):
        getattr(lib, f"jahp_{kind}_set").argtypes = [c_void_p, c_int, c_size_t]
        getattr(lib, f"jahp_{kind}_set_cancel").argtypes = [c_void_p, CANCEL, c_void_p]
    lib.jahp_version.restype = c_char_p
    lib.jahp_status_name.restype = c_char_p
    lib.jahp_model_open_file.argtypes = [c_void_p, c_char_p]
    lib.jahp_model_open_memory.argtypes = [c_void_p, c_char_p, c_size_t, c_char_p]
    lib.jahp_model_get_info.argtypes = [c_void_p, POINTER(ModelInfo), c_size_t]
    lib.jahp_decoder_add_model.argtypes = [c_void_p, c_void_p]
    lib.jahp_decoder_open.argtypes = [c_void_p, c_char_p, c_size_t]
    lib.jahp_decoder_set_view.argtypes = [c_void_p, c_int32, POINTER(Region)]
    lib.jahp_decoder_get_info.argtypes = [c_void_p, POINTER(Info), c_size_t]
    lib.jahp_decoder_get_chunk.argtypes = [c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t)]
    lib.jahp_decoder_rows.argtypes = [c_void_p, c_void_p, c_size_t, c_size_t, POINTER(c_uint32)]
    lib.jahp_decoder_image.argtypes = [c_void_p, POINTER(c_void_p), POINTER(c_size_t)]
    lib.jahp_encoder_set_quality.argtypes = [c_void_p, c_double]
    lib.jahp_encoder_set_target.argtypes = [c_void_p, c_int, c_double]
    lib.jahp_encoder_set_model.argtypes = [c_void_p, c_void_p]
    lib.jahp_encoder_set_chunk.argtypes = [c_void_p, c_char_p, c_char_p, c_size_t]
    lib.jahp_encoder_encode.argtypes = [
        c_void_p, c_void_p, c_size_t, c_size_t, c_uint32, c_uint32, c_uint32, POINTER(c_void_p), POINTER(c_size_t),
    ]  # fmt: skip
    return lib


class Object:
    """One object of the library. `call` raises what its status stands for, with the object's message."""

    kind = ""

    def __init__(self) -> None:
        self.lib = library()
        self.handle = getattr(self.lib, f"jahp_{self.kind}_new")()
        assert self.handle
        self._cancel = CANCEL()

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            getattr(self.lib, f"jahp_{self.kind}_free")(self.handle)

    def call(self, name, *arguments):
        status = getattr(self.lib, f"jahp_{self.kind}_{name}")(self.handle, *arguments)
        message = getattr(self.lib, f"jahp_{self.kind}_message")(self.handle).decode()
        assert (message == "") == (status == 0)
        if status:
            raise ERRORS[status](message)

    def set_cancel(self, cancel: Callable[[], bool]) -> None:
        self._cancel = CANCEL(lambda _: int(cancel()))
        self.call("set_cancel", self._cancel, None)


class Model(Object):
    """data: the file's bytes, by that name in messages; None: the file at that path is opened."""

    kind = "model"

    def __init__(self, path, data: bytes | None = None) -> None:
        super().__init__()
        if data is None:
            self.call("open_file", str(path).encode())
        else:
            self.call("open_memory", data, len(data), str(path).encode())

    @property
    def info(self) -> ModelInfo:
        out = ModelInfo()
        self.call("get_info", byref(out), ctypes.sizeof(out))
        return out


class Decoder(Object):
    kind = "decoder"

    def __init__(self, models=(), **options) -> None:
        super().__init__()
        self.dtype = np.uint16 if options.get("sample_bits") == 16 else np.uint8
        for model in models:
            self.call("add_model", model.handle)
        for name, value in options.items():
            self.call("set", globals()[name.upper()], value)

    def open(self, data: bytes) -> None:
        self._data = data
        self.call("open", data, len(data))

    def set_view(self, region=None, scale=1) -> None:
        self.call("set_view", scale, None if region is None else byref(Region(*region)))

    @property
    def info(self) -> Info:
        out = Info()
        self.call("get_info", byref(out), ctypes.sizeof(out))
        return out

    def chunk(self, kind: str) -> bytes:
        data, size = c_void_p(), c_size_t()
        self.call("get_chunk", kind.encode(), byref(data), byref(size))
        return ctypes.string_at(data, size.value) if data else b""

    def image(self):
        """(k, W, C): all rows that are left."""
        info, data, size = self.info, c_void_p(), c_size_t()
        self.call("image", byref(data), byref(size))
        return np.frombuffer(ctypes.string_at(data, size.value), self.dtype).reshape(-1, info.view_width, info.channels)

    def rows(self, most: int, gap: int = 0) -> Iterator[np.ndarray]:
        """Blocks (k, W, C) of at most so many rows; `gap` bytes behind each row must not be touched."""
        info = self.info
        stride = info.view_width * info.channels * np.dtype(self.dtype).itemsize + gap
        while True:
            memory, count = np.full(most * stride, 77, np.uint8), c_uint32()
            self.call("rows", memory.ctypes.data, memory.size, stride, byref(count))
            block = memory.reshape(most, stride)
            assert (block[:, stride - gap :] == 77).all()
            assert (block[count.value :] == 77).all()
            if count.value == 0:
                return
            yield block[: count.value, : stride - gap].copy().view(self.dtype).reshape(-1, info.view_width, info.channels)

    def decode(self, data: bytes, region=None, scale=1):
        """As Codec.decode."""
        self.open(data)
        if region is not None or scale != 1:
            self.set_view(region, scale)
        pixels = self.image()
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


class Encoder(Object):
    kind = "encoder"

    def __init__(self, model=None, quality=None, target_bpp=None, target_psnr=None, **options) -> None:
        super().__init__()
        for target, value in ((1, target_bpp), (2, target_psnr)):
            if value is not None:
                self.call("set_target", target, value)
        if model is not None:
            self.call("set_model", model.handle)
        if quality is not None:
            self.call("set_quality", quality)
        for name, value in options.items():
            self.call("set", globals()[name.upper()], value)

    def encode(self, pixels) -> bytes:
        """pixels: (H, W) or (H, W, C) uint8, whose rows may have gaps."""
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        assert pixels[:1].flags.c_contiguous
        stride = pixels.strides[0]
        data, size = c_void_p(), c_size_t()
        given = (height - 1) * stride + width * channels * pixels.itemsize
        self.call("encode", pixels.ctypes.data, given, stride, width, height, channels, byref(data), byref(size))
        return ctypes.string_at(data, size.value)


@contextmanager
def same_refusal(kind: type[Exception], text: str) -> Iterator[None]:
    """The body is refused with exactly that error."""
    with pytest.raises(kind) as caught:
        yield
    assert type(caught.value) is kind
    assert str(caught.value) == text
