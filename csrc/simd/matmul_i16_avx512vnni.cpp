// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>
#include <string.h>

#include "simd/matmul_i16.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

__m512i broadcast2(const int16_t* p) {
    int32_t two;
    memcpy(&two, p, 4);
    return _mm512_set1_epi32(two);
}

// kRows positions by kBlocks registers of outputs, all sums in registers.
template <int kRows, int kBlocks>
void tile(const MatmulI16& m, int p, int first, const int16_t* b) {
    __m512i sums[kRows][kBlocks], start[kBlocks];
    JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
        start[o] = m.start != nullptr ? _mm512_loadu_si512(m.start + (first + o) * 16) : _mm512_setzero_si512();
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o) sums[r][o] = start[o];
    const ptrdiff_t stride = m.a_stride;
    for (int s = 0; s < m.segments; ++s) {
        const int16_t* a = m.a[s] + p * stride;
        for (int k = 0; k < m.pairs; ++k, a += 2, b += 32 * kBlocks) {
            __m512i w[kBlocks];
            JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
                w[o] = _mm512_load_si512(b + o * 32);
            JAHP_UNROLL for (int r = 0; r < kRows; ++r) {
                const __m512i x = broadcast2(a + r * stride);
                JAHP_UNROLL for (int o = 0; o < kBlocks; ++o)
                    sums[r][o] = _mm512_dpwssd_epi32(sums[r][o], w[o], x);
            }
        }
    }
    int32_t* const c = m.c + p * m.c_stride + first * kMatmulBlock;
    JAHP_UNROLL for (int r = 0; r < kRows; ++r) JAHP_UNROLL
        for (int o = 0; o < kBlocks; ++o) _mm512_storeu_si512(c + r * m.c_stride + o * 16, sums[r][o]);
}

using Tile = void (*)(const MatmulI16&, int, int, const int16_t*);
template <int kBlocks>
constexpr Tile kTiles[13] = {nullptr,           tile<1, kBlocks>,  tile<2, kBlocks>, tile<3, kBlocks>, tile<4, kBlocks>,
                             tile<5, kBlocks>,  tile<6, kBlocks>,  tile<7, kBlocks>, tile<8, kBlocks>, tile<9, kBlocks>,
                             tile<10, kBlocks>, tile<11, kBlocks>, tile<12, kBlocks>};

}  // namespace

void matmul_i16_avx512vnni(const MatmulI16& m) {
    const int shares = (m.positions + 11) / 12;
    const int16_t* b = m.b;
    for (int first = 0; first < m.blocks;) {
        const int wide = m.blocks - first < 2 ? 1 : 2;
        const Tile* const tiles = wide == 2 ? kTiles<2> : kTiles<1>;
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (m.positions - p) / (shares - s);
            tiles[n](m, p, first, b);
            p += n;
        }
        b += (ptrdiff_t)wide * 32 * m.segments * m.pairs;
        first += wide;
    }
}

}  // namespace jahp
