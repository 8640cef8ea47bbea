// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavxvnni: includes intrinsics, C headers and plain structs only (see dot_i16_avx2.cpp).
#include <immintrin.h>
#include <string.h>

#include "simd/dot.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

__m256i broadcast4(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// P positions by one block of 16 outputs, as in dot_i16_avx2.
template <int P>
void tile(const DotArguments& a, int p0, int b0) {
    __m256i acc[P][2];
    const ptrdiff_t stride = a.in_stride;
    int32_t* sums = a.sums + p0 * a.sums_stride + b0 * kDotOutputs;
    JAHP_UNROLL for (int p = 0; p < P; ++p) {
        const __m256i start = a.start == nullptr ? _mm256_setzero_si256() : _mm256_set1_epi32(a.start[p0 + p]);
        JAHP_UNROLL for (int h = 0; h < 2; ++h)
            acc[p][h] = a.add ? _mm256_add_epi32(start, load(sums + p * a.sums_stride + h * 8)) : start;
    }
    const int8_t* in = static_cast<const int8_t*>(a.in) + p0 * stride;
    const uint8_t* weight = a.weight + b0 * a.block_stride;
    for (const DotGroup *g = a.groups, *end = g + a.group_count; g != end; ++g) {
        const uint8_t* w = weight + static_cast<ptrdiff_t>(g->weight) * 64;
        const int8_t* x = in + g->input;
        const __m256i low = load(w), high = load(w + 32);
        JAHP_UNROLL for (int p = 0; p < P; ++p) {
            const __m256i v = broadcast4(x + p * stride);
            acc[p][0] = _mm256_dpbusd_avx_epi32(acc[p][0], low, v);
            acc[p][1] = _mm256_dpbusd_avx_epi32(acc[p][1], high, v);
        }
    }
    JAHP_UNROLL for (int p = 0; p < P; ++p) JAHP_UNROLL
        for (int h = 0; h < 2; ++h)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + p * a.sums_stride + h * 8), acc[p][h]);
}

using Tile = void (*)(const DotArguments&, int, int);
constexpr Tile kTiles[7] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void dot_i8_avxvnni(const DotArguments& a) {
    const int shares = (a.positions + 5) / 6;
    for (int b = 0; b < a.blocks; ++b)
        for (int s = 0, p = 0; s < shares; ++s) {
            const int n = (a.positions - p) / (shares - s);
            kTiles[n](a, p, b);
            p += n;
        }
}

void row_sums_avxvnni(const int8_t* in, ptrdiff_t stride, int positions, int length, int32_t* out) {
    const __m128i ones = _mm_set1_epi8(1);
    for (int p = 0; p < positions; ++p) {
        __m128i sum = _mm_setzero_si128();
        for (int i = 0; i < length; i += 16)
            sum = _mm_dpbusd_avx_epi32(sum, ones,
                                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + p * stride + i)));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
        out[p] = -128 * _mm_cvtsi128_si32(sum);
    }
}

}  // namespace jahp
