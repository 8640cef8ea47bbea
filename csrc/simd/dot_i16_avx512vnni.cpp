// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics, C headers and plain structs only (see
// dot_i8_avx512vnni.cpp).
#include <immintrin.h>
#include <string.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

__m512i broadcast2(const int16_t* p) {
    int32_t two;
    memcpy(&two, p, 4);
    return _mm512_set1_epi32(two);
}

// As in dot_i8, but weights are widened on the way in: in memory they stay bytes.
template <int P, int B>
void tile(const DotArguments& a, int p0, int b0) {
    __m512i acc[P][B];
    const ptrdiff_t stride = a.in_stride, block = a.block_stride;
    int32_t* sums = a.sums + p0 * a.sums_stride + b0 * kDotOutputs;
    JAHP_UNROLL for (int p = 0; p < P; ++p) {
        const __m512i start = a.start == nullptr ? _mm512_setzero_si512() : _mm512_set1_epi32(a.start[p0 + p]);
        JAHP_UNROLL for (int b = 0; b < B; ++b)
            acc[p][b] = a.add ? _mm512_add_epi32(start, _mm512_loadu_si512(sums + p * a.sums_stride + b * 16)) : start;
    }
    const int16_t* in = static_cast<const int16_t*>(a.in) + p0 * stride;
    const uint8_t* weight = a.weight + b0 * block;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const uint8_t* w0 = weight + static_cast<ptrdiff_t>(g->weight) * 32;
        const int16_t* x = in + g->input;
        __m512i w[B];
        JAHP_UNROLL for (int b = 0; b < B; ++b)
            w[b] = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w0 + b * block)));
        JAHP_UNROLL for (int p = 0; p < P; ++p) {
            const __m512i v = broadcast2(x + p * stride);
            JAHP_UNROLL for (int b = 0; b < B; ++b)
                acc[p][b] = _mm512_dpwssd_epi32(acc[p][b], w[b], v);
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int b = 0; b < B; ++b) _mm512_storeu_si512(sums + p * a.sums_stride + b * 16, acc[p][b]);
}

using Tile = void (*)(const DotArguments&, int, int);
constexpr Tile kTiles[13][5] = {
    {},
    {nullptr, tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>},
    {nullptr, tile<2, 1>, tile<2, 2>, tile<2, 3>, tile<2, 4>},
    {nullptr, tile<3, 1>, tile<3, 2>, tile<3, 3>, tile<3, 4>},
    {nullptr, tile<4, 1>, tile<4, 2>, tile<4, 3>, tile<4, 4>},
    {nullptr, tile<5, 1>, tile<5, 2>, tile<5, 3>, tile<5, 4>},
    {nullptr, tile<6, 1>, tile<6, 2>, tile<6, 3>, tile<6, 4>},
    {nullptr, tile<7, 1>, tile<7, 2>},
    {nullptr, tile<8, 1>, tile<8, 2>},
    {nullptr, tile<9, 1>, tile<9, 2>},
    {nullptr, tile<10, 1>, tile<10, 2>},
    {nullptr, tile<11, 1>, tile<11, 2>},
    {nullptr, tile<12, 1>, tile<12, 2>},
};

}  // namespace

void dot_i16_avx512vnni(const DotArguments& a) {
    if (a.positions < 1) return;
    const int shares = (a.positions + 11) / 12, widest = (a.positions + shares - 1) / shares > 6 ? 2 : 4;
    for (int b = 0; b < a.blocks; b += widest) {
        const int blocks = a.blocks - b < widest ? a.blocks - b : widest;
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (a.positions - p) / (shares - s);
            kTiles[n][blocks](a, p, b);
            p += n;
        }
    }
}

}  // namespace jahp
