// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics and C headers only (see dot_i16_avx2.cpp).
#include <immintrin.h>
#include <stdint.h>

namespace jahp {
namespace {

__m512i load(const int16_t* p) { return _mm512_loadu_si512(p); }

template <int P, int O>
void tile(const int16_t* in, long in_stride, const int16_t* w, int depth, int32_t* sums, long outputs) {
    __m512i acc[P][O];
    for (int p = 0; p < P; ++p)
        for (int o = 0; o < O; ++o) acc[p][o] = _mm512_setzero_si512();
    for (int k = 0; k < depth; k += 32) {
        __m512i wk[O];
        for (int o = 0; o < O; ++o) wk[o] = load(w + static_cast<long>(o) * depth + k);
        for (int p = 0; p < P; ++p) {
            const __m512i a = load(in + p * in_stride + k);
            for (int o = 0; o < O; ++o) acc[p][o] = _mm512_dpwssd_epi32(acc[p][o], a, wk[o]);
        }
    }
    for (int p = 0; p < P; ++p)
        for (int o = 0; o < O; ++o) sums[p * outputs + o] = _mm512_reduce_add_epi32(acc[p][o]);
}

// O rows of weights against all positions: the rows stay in the first-level cache meanwhile, and a layer's weights, more than
// the second level holds, are read once a call.
template <int O>
void rows(const int16_t* in, int in_stride, int positions, const int16_t* weight, int outputs, int depth, int32_t* sums) {
    int p = 0;
    for (; p + 4 <= positions; p += 4)
        tile<4, O>(in + static_cast<long>(p) * in_stride, in_stride, weight, depth, sums + static_cast<long>(p) * outputs, outputs);
    for (; p < positions; ++p)
        tile<1, O>(in + static_cast<long>(p) * in_stride, in_stride, weight, depth, sums + static_cast<long>(p) * outputs, outputs);
}

}  // namespace

void dot_i16_avx512vnni(const int16_t* in, int in_stride, int positions, const int16_t* weight, int outputs, int depth, int32_t* sums) {
    int o = 0;
    for (; o + 4 <= outputs; o += 4) rows<4>(in, in_stride, positions, weight + static_cast<long>(o) * depth, outputs, depth, sums + o);
    for (; o < outputs; ++o) rows<1>(in, in_stride, positions, weight + static_cast<long>(o) * depth, outputs, depth, sums + o);
}

}  // namespace jahp
