// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics and C headers only (see dot_i16_avx2.cpp).
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace jahp {
namespace {

__m512i broadcast4(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
}

// P positions by B blocks of 16 outputs, P * B accumulators: no sum is ever taken across a register.
template <int P, int B>
void tile(const uint8_t* in, const int8_t* weight, int depth, int32_t* sums, int stride) {
    __m512i acc[P][B];
    for (int p = 0; p < P; ++p)
        for (int b = 0; b < B; ++b) acc[p][b] = _mm512_setzero_si512();
    const long block = static_cast<long>(depth) * 16;
    for (int k = 0; k < depth; k += 4) {
        __m512i w[B];
        for (int b = 0; b < B; ++b) w[b] = _mm512_loadu_si512(weight + b * block + static_cast<long>(k) * 16);
        for (int p = 0; p < P; ++p) {
            const __m512i a = broadcast4(in + static_cast<long>(p) * depth + k);
            for (int b = 0; b < B; ++b) acc[p][b] = _mm512_dpbusd_epi32(acc[p][b], a, w[b]);
        }
    }
    for (int p = 0; p < P; ++p)
        for (int b = 0; b < B; ++b) _mm512_storeu_si512(sums + static_cast<long>(p) * stride + b * 16, acc[p][b]);
}

template <int P, int B>
void columns(const uint8_t* in, const int8_t* weight, int blocks, int depth, int32_t* sums, int stride) {
    const long block = static_cast<long>(depth) * 16;
    int b = 0;
    for (; b + B <= blocks; b += B) tile<P, B>(in, weight + b * block, depth, sums + b * 16, stride);
    for (; b < blocks; ++b) tile<P, 1>(in, weight + b * block, depth, sums + b * 16, stride);
}

using Columns = void (*)(const uint8_t*, const int8_t*, int, int, int32_t*, int);
// By number of positions: as many blocks as 24 accumulators allow, so that few positions still hide the latency.
constexpr Columns kColumns[13] = {nullptr,       columns<1, 4>, columns<2, 4>, columns<3, 4>,  columns<4, 4>,  columns<5, 4>, columns<6, 4>,
                                  columns<7, 3>, columns<8, 3>, columns<9, 2>, columns<10, 2>, columns<11, 2>, columns<12, 2>};

}  // namespace

void dot_i8_avx512vnni(const uint8_t* in, int positions, const int8_t* weight, int blocks, int depth, int32_t* sums, int stride) {
    // Equal shares of at most 12: 16 positions run as 8 + 8, not as 12 + 4.
    const int shares = (positions + 11) / 12;
    for (int s = 0, p = 0; s < shares; ++s) {
        const int n = (positions - p) / (shares - s);
        kColumns[n](in + static_cast<long>(p) * depth, weight, blocks, depth, sums + static_cast<long>(p) * stride, stride);
        p += n;
    }
}

}  // namespace jahp
