// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>
#include <string.h>

#include "simd/matmul_i16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kMost = 6;  // positions: with two registers of outputs each, 12 of 16 registers are sums

__m256i broadcast2(const int16_t* p) {
    int32_t two;
    memcpy(&two, p, 4);
    return _mm256_set1_epi32(two);
}

template <int kRows>
void tile(const MatmulI16& m, int p, int block, const int16_t* b) {
    __m256i sums[kRows][2], start[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    if (m.start != nullptr)
        for (int o = 0; o < 2; ++o)
            start[o] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(m.start + block * kMatmulBlock + o * 8));
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o) sums[r][o] = start[o];
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const int16_t* a = m.a[s] + p * stride;
        for (int k = 0; k < m.pairs; ++k, a += 2, b += 2 * kMatmulBlock) {
            const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(b)),
                          w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(b + 16));
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const __m256i x = broadcast2(a + r * stride);
                sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(x, w0));
                sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(x, w1));
            }
        }
    }
    int32_t* const c = m.c + p * m.c_stride + block * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < 2; ++o)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + r * m.c_stride + o * 8), sums[r][o]);
}

using Tile = void (*)(const MatmulI16&, int, int, const int16_t*);
constexpr Tile kTiles[kMost + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void matmul_i16_avx2(const MatmulI16& m) {
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
