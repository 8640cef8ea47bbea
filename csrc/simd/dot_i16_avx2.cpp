// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2: includes intrinsics, C headers and plain structs only, so that no AVX2 copy of an inline
// function can leak out.
#include <immintrin.h>
#include <string.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

__m256i broadcast2(const int16_t* p) {
    int32_t two;
    memcpy(&two, p, 4);
    return _mm256_set1_epi32(two);
}

__m256i widen(const uint8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

// P positions by one block of 16 outputs: with P = 6, 12 accumulators, two weights and one input fill the 16 registers.
template <int P>
void tile(const DotArguments& a, int p0, int b0) {
    __m256i acc[P][2];
    const ptrdiff_t stride = a.in_stride;
    int32_t* sums = a.sums + p0 * a.sums_stride + b0 * kDotOutputs;
    JAHP_UNROLL for (int p = 0; p < P; ++p) {
        const __m256i start = a.start == nullptr ? _mm256_setzero_si256() : _mm256_set1_epi32(a.start[p0 + p]);
        JAHP_UNROLL for (int h = 0; h < 2; ++h) {
            acc[p][h] = start;
            if (a.add)
                acc[p][h] = _mm256_add_epi32(
                    start, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + p * a.sums_stride + h * 8)));
        }
    }
    const int16_t* in = static_cast<const int16_t*>(a.in) + p0 * stride;
    const uint8_t* weight = a.weight + b0 * a.block_stride;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const uint8_t* w = weight + static_cast<ptrdiff_t>(g->weight) * 32;
        const int16_t* x = in + g->input;
        const __m256i low = widen(w), high = widen(w + 16);
        JAHP_UNROLL for (int p = 0; p < P; ++p) {
            const __m256i v = broadcast2(x + p * stride);
            acc[p][0] = _mm256_add_epi32(acc[p][0], _mm256_madd_epi16(low, v));
            acc[p][1] = _mm256_add_epi32(acc[p][1], _mm256_madd_epi16(high, v));
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int h = 0; h < 2; ++h)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + p * a.sums_stride + h * 8), acc[p][h]);
}

using Tile = void (*)(const DotArguments&, int, int);
constexpr Tile kTiles[7] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void dot_i16_avx2(const DotArguments& a) {
    const int shares = (a.positions + 5) / 6;
    for (int b = 0; b < a.blocks; ++b)
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (a.positions - p) / (shares - s);
            kTiles[n](a, p, b);
            p += n;
        }
}

}  // namespace jahp
