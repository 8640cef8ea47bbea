// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128: includes intrinsics, C headers and plain structs only.
#include <stdint.h>
#include <wasm_simd128.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// P positions by half a block of outputs, as in matmul_i16_wasm; weights are widened on the way in.
template <int P>
void tile(const DotArguments& a, int p0, int output, const uint8_t* weight) {
    v128_t acc[P][2];
    const ptrdiff_t stride = a.in_stride;
    int32_t* sums = a.sums + p0 * a.sums_stride + output;
    JAHP_UNROLL for (int p = 0; p < P; ++p) {
        const v128_t start = wasm_i32x4_splat(a.start == nullptr ? 0 : a.start[p0 + p]);
        JAHP_UNROLL for (int h = 0; h < 2; ++h)
            acc[p][h] = a.add ? wasm_i32x4_add(start, wasm_v128_load(sums + p * a.sums_stride + h * 4)) : start;
    }
    const int16_t* in = static_cast<const int16_t*>(a.in) + p0 * stride;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const uint8_t* w = weight + static_cast<ptrdiff_t>(g->weight) * 32;
        const int16_t* x = in + g->input;
        const v128_t low = wasm_i16x8_load8x8(w), high = wasm_i16x8_load8x8(w + 8);
        JAHP_UNROLL for (int p = 0; p < P; ++p) {
            const v128_t v = wasm_v128_load32_splat(x + p * stride);
            acc[p][0] = wasm_i32x4_add(acc[p][0], wasm_i32x4_dot_i16x8(low, v));
            acc[p][1] = wasm_i32x4_add(acc[p][1], wasm_i32x4_dot_i16x8(high, v));
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int h = 0; h < 2; ++h) wasm_v128_store(sums + p * a.sums_stride + h * 4, acc[p][h]);
}

using Tile = void (*)(const DotArguments&, int, int, const uint8_t*);
constexpr Tile kTiles[6] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>};

}  // namespace

void dot_i16_wasm(const DotArguments& a) {
    const int shares = (a.positions + 4) / 5;
    for (int b = 0; b < a.blocks; ++b)
        for (int half = 0; half < 2; ++half)
            for (int s = 0, p = 0; s < shares; ++s) {
                const int n = (a.positions - p) / (shares - s);
                kTiles[n](a, p, b * kDotOutputs + half * 8, a.weight + b * a.block_stride + half * 16);
                p += n;
            }
}

}  // namespace jahp
