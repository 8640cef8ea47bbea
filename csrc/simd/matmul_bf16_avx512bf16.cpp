// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512bf16: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/matmul_bf16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

// kRows positions by kBlocks registers of outputs, all sums in registers.
template <int kRows, int kBlocks>
void tile(const MatmulBf16& m, int p, int first, const uint32_t* b) {
    __m512 sums[kRows][kBlocks];
    float* const c = m.c + p * m.c_stride + first * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o)
            sums[r][o] = m.add                ? _mm512_loadu_ps(c + r * m.c_stride + o * 16)
                         : m.start != nullptr ? _mm512_loadu_ps(m.start + (first + o) * 16)
                                              : _mm512_setzero_ps();
    const ptrdiff_t stride = m.a_stride;
    const uint32_t* a = m.a + p * stride;
    for (int k = 0; k < m.pairs; ++k, ++a, b += 16 * kBlocks) {
        __m512bh w[kBlocks];
        JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
            w[o] = (__m512bh)_mm512_load_si512(b + o * 16);
        JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[r * stride]);
            JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
                sums[r][o] = _mm512_dpbf16_ps(sums[r][o], x, w[o]);
        }
    }
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o) _mm512_storeu_ps(c + r * m.c_stride + o * 16, sums[r][o]);
}

template <int kRows, int kBlocks>
void rest(const MatmulBf16& m, int p, int first, const uint32_t* b) {
    if constexpr (kRows > 0) {
        if (m.positions - p == kRows)
            tile<kRows, kBlocks>(m, p, first, b);
        else
            rest<kRows - 1, kBlocks>(m, p, first, b);
    }
}

template <int kRows, int kBlocks>
void panel(const MatmulBf16& m, int first, const uint32_t* b) {
    int p = 0;
    for (; p + kRows <= m.positions; p += kRows) tile<kRows, kBlocks>(m, p, first, b);
    rest<kRows - 1, kBlocks>(m, p, first, b);
}

}  // namespace

void matmul_bf16_avx512bf16(const MatmulBf16& m) {
    const uint32_t* b = m.b;
    for (int first = 0; first < m.blocks;) {
        const int wide = matmul_panel(m.blocks - first, kBf16Panel);
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
        b += (ptrdiff_t)wide * 16 * m.pairs;
        first += wide;
    }
}

void narrow_bf16_avx512bf16(const float* x, ptrdiff_t count, uint32_t* out) {
    for (ptrdiff_t i = 0; i < count; i += 16)
        _mm256_storeu_si256((__m256i*)(out + i / 2), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
}

}  // namespace jahp
