// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512f: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/matmul_f32.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// kRows positions by kBlocks registers of outputs, all sums in registers.
template <int kRows, int kBlocks>
void tile(const MatmulF32& m, int p, int first, const float* b) {
    __m512 sums[kRows][kBlocks];
    float* const c = m.c + p * m.c_stride + first * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o)
            sums[r][o] = m.add                ? _mm512_loadu_ps(c + r * m.c_stride + o * 16)
                         : m.start != nullptr ? _mm512_loadu_ps(m.start + (first + o) * 16)
                                              : _mm512_setzero_ps();
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const float* a = m.a[s] + p * stride;
        for (int k = 0; k < m.depth; ++k, ++a, b += 16 * kBlocks) {
            __m512 w[kBlocks];
            JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
                w[o] = _mm512_load_ps(b + o * 16);
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const __m512 x = _mm512_set1_ps(a[r * stride]);
                JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
                    sums[r][o] = _mm512_fmadd_ps(x, w[o], sums[r][o]);
            }
        }
    }
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o) _mm512_storeu_ps(c + r * m.c_stride + o * 16, sums[r][o]);
}

template <int kRows, int kBlocks>
void rest(const MatmulF32& m, int p, int first, const float* b) {
    if constexpr (kRows > 0) {
        if (m.positions - p == kRows)
            tile<kRows, kBlocks>(m, p, first, b);
        else
            rest<kRows - 1, kBlocks>(m, p, first, b);
    }
}

template <int kRows, int kBlocks>
void panel(const MatmulF32& m, int first, const float* b) {
    int p = 0;
    for (; p + kRows <= m.positions; p += kRows) tile<kRows, kBlocks>(m, p, first, b);
    rest<kRows - 1, kBlocks>(m, p, first, b);
}

}  // namespace

void matmul_f32_avx512vnni(const MatmulF32& m) {
    const float* b = m.b;
    for (int first = 0; first < m.blocks;) {
        const int wide = matmul_panel(m.blocks - first, 4);
        switch (wide) {
            case 4:
                panel<6, 4>(m, first, b);
                break;
            case 3:
                panel<8, 3>(m, first, b);
                break;
            case 2:
                panel<12, 2>(m, first, b);
                break;
            default:
                panel<14, 1>(m, first, b);
                break;
        }
        b += (ptrdiff_t)wide * 16 * m.segments * m.depth;
        first += wide;
    }
}

}  // namespace jahp
