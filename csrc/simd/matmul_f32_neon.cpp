// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/matmul_f32.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kMost = 6;  // positions: with four registers of outputs each, 24 of 32 registers are sums

template <int kRows>
void tile(const MatmulF32& m, int p, int block, const float* b) {
    float32x4_t sums[kRows][4];
    float* const c = m.c + p * m.c_stride + block * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 4; ++o)
            sums[r][o] = m.add                ? vld1q_f32(c + r * m.c_stride + o * 4)
                         : m.start != nullptr ? vld1q_f32(m.start + block * kMatmulBlock + o * 4)
                                              : vdupq_n_f32(0);
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const float* a = m.a[s] + p * stride;
        for (int k = 0; k < m.depth; ++k, ++a, b += kMatmulBlock) {
            float32x4_t w[4];
            JAHP_UNROLL for (int o = 0; o < 4; ++o)
                w[o] = vld1q_f32(b + o * 4);
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const float32x4_t x = vld1q_dup_f32(a + r * stride);
                JAHP_UNROLL for (int o = 0; o < 4; ++o)
                    sums[r][o] = vfmaq_f32(sums[r][o], x, w[o]);
            }
        }
    }
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 4; ++o) vst1q_f32(c + r * m.c_stride + o * 4, sums[r][o]);
}

template <int kRows>
void rest(const MatmulF32& m, int p, int block, const float* b) {
    if constexpr (kRows > 0) {
        if (m.positions - p == kRows)
            tile<kRows>(m, p, block, b);
        else
            rest<kRows - 1>(m, p, block, b);
    }
}

}  // namespace

void matmul_f32_neon(const MatmulF32& m) {
    const float* b = m.b;
    for (int block = 0; block < m.blocks; ++block, b += (ptrdiff_t)kMatmulBlock * m.segments * m.depth) {
        int p = 0;
        for (; p + kMost <= m.positions; p += kMost) tile<kMost>(m, p, block, b);
        rest<kMost - 1>(m, p, block, b);
    }
}

}  // namespace jahp
