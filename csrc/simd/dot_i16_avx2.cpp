// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2: includes intrinsics and C headers only, so that no AVX2 copy of an inline function can leak out.
#include <immintrin.h>
#include <stdint.h>

namespace jahp {
namespace {

int32_t sum8(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

__m256i load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// A tile of P positions by O outputs: each weight is loaded once for all positions, each input once for all outputs.
template <int P, int O>
void tile(const int16_t* in, long in_stride, const int16_t* w, int depth, int32_t* sums, long outputs) {
    __m256i acc[P][O];
    for (int p = 0; p < P; ++p)
        for (int o = 0; o < O; ++o) acc[p][o] = _mm256_setzero_si256();
    for (int k = 0; k < depth; k += 16) {
        __m256i wk[O];
        for (int o = 0; o < O; ++o) wk[o] = load(w + static_cast<long>(o) * depth + k);
        for (int p = 0; p < P; ++p) {
            const __m256i a = load(in + p * in_stride + k);
            for (int o = 0; o < O; ++o) acc[p][o] = _mm256_add_epi32(acc[p][o], _mm256_madd_epi16(a, wk[o]));
        }
    }
    for (int p = 0; p < P; ++p)
        for (int o = 0; o < O; ++o) sums[p * outputs + o] = sum8(acc[p][o]);
}

// O rows of weights against all positions: the rows stay in the first-level cache meanwhile, and a layer's weights, more than
// the second level holds, are read once a call.
template <int O>
void rows(const int16_t* in, int in_stride, int positions, const int16_t* weight, int outputs, int depth, int32_t* sums) {
    int p = 0;
    for (; p + 2 <= positions; p += 2)
        tile<2, O>(in + static_cast<long>(p) * in_stride, in_stride, weight, depth, sums + static_cast<long>(p) * outputs, outputs);
    for (; p < positions; ++p)
        tile<1, O>(in + static_cast<long>(p) * in_stride, in_stride, weight, depth, sums + static_cast<long>(p) * outputs, outputs);
}

}  // namespace

void dot_i16_avx2(const int16_t* in, int in_stride, int positions, const int16_t* weight, int outputs, int depth, int32_t* sums) {
    int o = 0;
    for (; o + 4 <= outputs; o += 4) rows<4>(in, in_stride, positions, weight + static_cast<long>(o) * depth, outputs, depth, sums + o);
    for (; o < outputs; ++o) rows<1>(in, in_stride, positions, weight + static_cast<long>(o) * depth, outputs, depth, sums + o);
}

}  // namespace jahp
