// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/matmul_i16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kMost = 6;  // positions: with four registers of outputs each, 24 of 32 registers are sums

// There is no instruction that sums pairs of 16-bit products: the two depths of a pair are taken one after the other,
// by weights that are parted on the way in.
template <int kRows>
void tile(const MatmulI16& m, int p, int block, const int16_t* b) {
    int32x4_t sums[kRows][4];
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 4; ++o)
            sums[r][o] = m.start != nullptr ? vld1q_s32(m.start + block * kMatmulBlock + o * 4) : vdupq_n_s32(0);
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const int16_t* a = m.a[s] + p * stride;
        for (int k = 0; k < m.pairs; ++k, a += 2, b += 2 * kMatmulBlock) {
            const int16x8x2_t low = vld2q_s16(b), high = vld2q_s16(b + 16);
            JAHP_UNROLL for (int e = 0; e < 2; ++e) {
                JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                    const int16_t x = a[r * stride + e];
                    sums[r][0] = vmlal_n_s16(sums[r][0], vget_low_s16(low.val[e]), x);
                    sums[r][1] = vmlal_n_s16(sums[r][1], vget_high_s16(low.val[e]), x);
                    sums[r][2] = vmlal_n_s16(sums[r][2], vget_low_s16(high.val[e]), x);
                    sums[r][3] = vmlal_n_s16(sums[r][3], vget_high_s16(high.val[e]), x);
                }
            }
        }
    }
    int32_t* const c = m.c + p * m.c_stride + block * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 4; ++o) vst1q_s32(c + r * m.c_stride + o * 4, sums[r][o]);
}

using Tile = void (*)(const MatmulI16&, int, int, const int16_t*);
constexpr Tile kTiles[kMost + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void matmul_i16_neon(const MatmulI16& m) {
    const int shares = (m.positions + kMost - 1) / kMost;
    const int16_t* b = m.b;
    for (int block = 0; block < m.blocks; ++block, b += (ptrdiff_t)m.segments * m.pairs * 2 * kMatmulBlock)
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (m.positions - p) / (shares - s);
            kTiles[n](m, p, block, b);
            p += n;
        }
}

}  // namespace jahp
