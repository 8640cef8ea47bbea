// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128: includes intrinsics, C headers and plain structs only.
#include <stdint.h>
#include <wasm_simd128.h>

#include "simd/matmul_i16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kMost = 5;  // positions: with two registers of outputs each, 10 of the 15 that engines leave are sums

// Half a block of outputs: a whole one at as many positions would not stay in registers.
template <int kRows>
void tile(const MatmulI16& m, int p, int output, const int16_t* b) {
    v128_t sums[kRows][2];
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o)
            sums[r][o] = m.start != nullptr ? wasm_v128_load(m.start + output + o * 4) : wasm_i32x4_const_splat(0);
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const int16_t* a = m.a[s] + p * stride;
        for (int k = 0; k < m.pairs; ++k, a += 2, b += 2 * kMatmulBlock) {
            const v128_t w0 = wasm_v128_load(b), w1 = wasm_v128_load(b + 8);
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const v128_t x = wasm_v128_load32_splat(a + r * stride);
                sums[r][0] = wasm_i32x4_add(sums[r][0], wasm_i32x4_dot_i16x8(x, w0));
                sums[r][1] = wasm_i32x4_add(sums[r][1], wasm_i32x4_dot_i16x8(x, w1));
            }
        }
    }
    int32_t* const c = m.c + p * m.c_stride + output;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o) wasm_v128_store(c + r * m.c_stride + o * 4, sums[r][o]);
}

using Tile = void (*)(const MatmulI16&, int, int, const int16_t*);
constexpr Tile kTiles[kMost + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>};

}  // namespace

void matmul_i16_wasm(const MatmulI16& m) {
    const int shares = (m.positions + kMost - 1) / kMost;
    const int16_t* b = m.b;
    for (int block = 0; block < m.blocks; ++block, b += (ptrdiff_t)m.segments * m.pairs * 2 * kMatmulBlock)
        for (int half = 0; half < 2; ++half)
            for (int s = 0, p = 0; s < shares; ++s) {
                const int n = (m.positions - p) / (shares - s);
                kTiles[n](m, p, block * kMatmulBlock + half * 8, b + half * 16);
                p += n;
            }
}

}  // namespace jahp
