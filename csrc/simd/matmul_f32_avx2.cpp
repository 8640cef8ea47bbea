// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2 -mfma: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/matmul_f32.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kMost = 6;  // positions: with two registers of outputs each, 12 of 16 registers are sums

template <int kRows>
void tile(const MatmulF32& m, int p, int block, const float* b) {
    __m256 sums[kRows][2];
    float* const c = m.c + p * m.c_stride + block * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o)
            sums[r][o] = m.add                ? _mm256_loadu_ps(c + r * m.c_stride + o * 8)
                         : m.start != nullptr ? _mm256_loadu_ps(m.start + block * kMatmulBlock + o * 8)
                                              : _mm256_setzero_ps();
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const float* a = m.a[s] + p * stride;
        for (int k = 0; k < m.depth; ++k, ++a, b += kMatmulBlock) {
            const __m256 w0 = _mm256_load_ps(b), w1 = _mm256_load_ps(b + 8);
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const __m256 x = _mm256_broadcast_ss(a + r * stride);
                sums[r][0] = _mm256_fmadd_ps(x, w0, sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(x, w1, sums[r][1]);
            }
        }
    }
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o) _mm256_storeu_ps(c + r * m.c_stride + o * 8, sums[r][o]);
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

void matmul_f32_avx2(const MatmulF32& m) {
    const float* b = m.b;
    for (int block = 0; block < m.blocks; ++block, b += (ptrdiff_t)kMatmulBlock * m.segments * m.depth) {
        int p = 0;
        for (; p + kMost <= m.positions; p += kMost) tile<kMost>(m, p, block, b);
        rest<kMost - 1>(m, p, block, b);
    }
}

}  // namespace jahp
