# SPDX-License-Identifier: Apache-2.0
"""Compiles the Triton kernels ahead of time, for devices that need not be here. A process of its own, without TRITON_INTERPRET.

Prints a JSON list: name, target, shared memory, and what `cuobjdump` and the PTX say of the code.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from jahp_fast.entropy.integer_net import PARAMETER_LIMIT
from jahp_fast.kernels.context_decode import context_decode_kernel
from jahp_fast.kernels.conv_i8 import conv_i8_kernel
from jahp_fast.kernels.gdn import BLOCK, BLOCK_BACKWARD, WARPS, gdn_backward_kernel, gdn_kernel, gdn_sums_kernel
from jahp_fast.kernels.likelihoods import (
    BLOCK_Z,
    factorised_backward_kernel,
    factorised_kernel,
    gaussian_backward_kernel,
    gaussian_kernel,
)
from jahp_fast.kernels.range_decode import range_decode_kernel
from jahp_fast.kernels.requantise import requantise_kernel
from jahp_fast.kernels.reveal import reveal_kernel
from jahp_fast.kernels.symbol_rows import symbol_rows_kernel

BYTES = ("payloads",)
WEIGHTS = ("weight", "context_weight", "weight_0", "weight_1", "weight_2")
ACTIVATIONS = ("x", "plane", "seen", "activations")
WIDE_INTEGERS = ("table", "state", "shapes", "images")
SCALARS = ("limit", "start_stride", "first_tap", "tap_step", "tap_columns", "taps", "row_stride", "hyper_latents", "latents", "count",
           "scale_count", "stride", "positions", "channels", "columns", "most")  # fmt: skip


def signature(kernel, wide, overrides):
    """Argument -> type, as the launchers pass them."""
    activation = "*i16" if wide else "*i8"
    types = {}
    for name in kernel.arg_names:
        if name in SCALARS:
            types[name] = "i32"
        elif name in BYTES:
            types[name] = "*u8"
        elif name in WEIGHTS:
            types[name] = "*i8"
        elif name in ACTIVATIONS:
            types[name] = activation
        elif name == "lasts":
            types[name] = "*i16"
        else:
            types[name] = "*i64" if name in WIDE_INTEGERS else "*i32"
    return types | overrides


def context(m, form, wide, most):
    """Widths of the published models: context 2 M, hidden 10/3 M and 8/3 M, in multiples of 64."""
    up = [-(-width // 64) * 64 for width in (m, 2 * m, 10 * m // 3, 8 * m // 3)]
    return dict(
        KERNEL=5, IN=up[0], CONTEXT=up[1], HIDDEN_0=up[2], HIDDEN_1=up[3], PARAMETER_LIMIT=PARAMETER_LIMIT, SCALE_SEARCH=6, SEARCH=11,
        PROB_BITS=16 if wide else 15, FORM_B=form == "B", MEAN_BITS=6, WIDE=wide, LANES=32 if most <= 16 else 64,
        BLOCK_M=16 if most <= 16 else 32, BLOCK_K=64,
    )  # fmt: skip


def conv(inputs, outputs, wide, **more):
    return dict(IN=inputs, OUT=outputs, WIDE=wide, BLOCK_M=64, BLOCK_N=64, BLOCK_K=64) | more


def ones(*names):
    """Arguments that are 1: a launcher compiles the 1 in, which changes types of what is computed from them."""
    return dict.fromkeys(names, 1)


def floats(kernel, **others):
    """Types of a kernel of training: pointers to float32, counts and steps, bounds."""
    counts, bounds = ("positions", "channels", "programs"), ("beta_bound", "gamma_bound", "pedestal", "least", "least_scale")
    types = {n: "i32" if n in counts or n.endswith("_step") else "fp32" if n in bounds else "*fp32" for n in kernel.arg_names}
    return types | others


GDN = {"INVERSE": False, "HALF": True, "C": 64}
RANGE = {"SEARCH": 11, "PROB_BITS": 15, "MEAN_BITS": 6, "LANES": 32}
# name, targets, kernel, wide, constants, other types, warps
JOBS = [
    ("context_decode 192/192 A8 A", (80, 90), context_decode_kernel, False, context(192, "A", False, 16), {}, 8),
    ("context_decode 192/320 A16 B", (80, 90), context_decode_kernel, True, context(320, "B", True, 32), {}, 8),
    ("conv_i8 transposed A8", (80, 90), conv_i8_kernel, False, conv(192, 192, False, TRANSPOSED=True, RAW=False), {"out": "*i8"}, 4),
    ("conv_i8 3x3 A16", (80, 90), conv_i8_kernel, True, conv(320, 640, True, TRANSPOSED=False, RAW=False), {"out": "*i16"}, 4),
    ("conv_i8 1x1 sums", (90,), conv_i8_kernel, False,
     conv(384, 640, False, TRANSPOSED=False, RAW=True) | ones("taps", "tap_columns", "tap_step"), {}, 4),
    ("range_decode z", (80, 90), range_decode_kernel, False, RANGE | {"HYPER": True, "PADDED": 192, "FORM_B": False}, {}, 1),
    ("range_decode y B", (90,), range_decode_kernel, False, RANGE | {"HYPER": False, "PADDED": 0, "FORM_B": True}, {"plane": "*i32"}, 1),
    ("symbol_rows", (80, 90), symbol_rows_kernel, False,
     {"SEARCH": 6, "MEAN_BITS": 6, "FORM_B": False, "MEANS": True, "BLOCK": 256}, {}, 4),
    ("reveal", (80, 90), reveal_kernel, True, {"PADDED": 192, "BLOCK_M": 16, "BLOCK_N": 64}, {}, 4),
    ("requantise", (80, 90), requantise_kernel, False, {"BLOCK": 128}, {"rows": "i32"}, 4),
    ("gdn", (80, 90), gdn_kernel, False, GDN | {"BLOCK": BLOCK}, floats(gdn_kernel, x="*bf16"), WARPS),
    ("gdn_backward", (80, 90), gdn_backward_kernel, False, GDN | {"BLOCK": BLOCK_BACKWARD},
     floats(gdn_backward_kernel, x="*bf16", dx="*bf16"), WARPS),
    ("gdn_sums", (80, 90), gdn_sums_kernel, False, {"C": 64, "BLOCK": 32}, floats(gdn_sums_kernel), 4),
    ("gaussian", (80, 90), gaussian_kernel, False, {"MEAN": True, "BLOCK": 32, "LINE": 64}, floats(gaussian_kernel), 4),
    ("gaussian_backward", (80, 90), gaussian_backward_kernel, False, {"MEAN": True, "BLOCK": 32, "LINE": 64},
     floats(gaussian_backward_kernel), 4),
    ("factorised", (80, 90), factorised_kernel, False, {"BLOCK": BLOCK_Z}, floats(factorised_kernel), 4),
    ("factorised_backward", (80, 90), factorised_backward_kernel, False, {"BLOCK": BLOCK_Z}, floats(factorised_backward_kernel), 4),
    ("context_decode ones", (80,), context_decode_kernel, False,
     context(1, "A", False, 16) | ones("latents", "hyper_latents", "scale_count"), {}, 8),
    ("range_decode z ones", (80,), range_decode_kernel, False,
     RANGE | {"HYPER": True, "PADDED": 64, "FORM_B": False} | ones("latents", "hyper_latents"), {}, 1),
    ("range_decode y ones", (80,), range_decode_kernel, False,
     RANGE | {"HYPER": False, "PADDED": 0, "FORM_B": False} | ones("latents", "hyper_latents", "row_stride"), {"plane": "*i32"}, 1),
    ("symbol_rows ones", (80,), symbol_rows_kernel, False,
     {"SEARCH": 1, "MEAN_BITS": 0, "FORM_B": True, "MEANS": False, "BLOCK": 256} | ones("latents", "count"), {}, 4),
    ("reveal ones", (80,), reveal_kernel, False, {"PADDED": 64, "BLOCK_M": 16, "BLOCK_N": 64} | ones("channels"), {}, 4),
]  # fmt: skip


def resources(cubin, folder):
    path = Path(folder) / "kernel.cubin"
    path.write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    text = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True, timeout=30).stdout
    return {name.lower(): int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}


def main():
    assert "TRITON_INTERPRET" not in os.environ
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, targets, kernel, wide, constants, overrides, warps in JOBS:
            types = {k: "constexpr" if k in constants else v for k, v in signature(kernel, wide, overrides).items()}
            pointers = [i for i, k in enumerate(kernel.arg_names) if types[k].startswith("*") and k not in BYTES]
            aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}
            source = ASTSource(kernel, types, {(kernel.arg_names.index(k),): v for k, v in constants.items()}, aligned)
            for capability in targets:
                options = {"num_warps": warps, "num_stages": 3}
                compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
                ptx = compiled.asm["ptx"]
                results.append({
                    "name": name, "capability": capability, "shared": compiled.metadata.shared,
                    "products": len(re.findall(r"(?:wgmma\.)?mma[^\n;]*\.s32\.s8\.s8", ptx)), "async": "cp.async" in ptx,
                    **resources(compiled.asm["cubin"], folder),
                })  # fmt: skip
    json.dump(results, sys.stdout)


main()
