// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx512vnni and what it needs: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/peak.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kSums = 16;  // enough to hide the latency, of which nothing else is measured

// The empty statement keeps the compiler from taking the loop apart: `a` may have changed.
template <typename Step>
void run(int64_t rounds, const Step& step) {
    __m512i sums[kSums], a = _mm512_set1_epi8(3);
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        sums[i] = _mm512_set1_epi32(i);
    for (int64_t r = 0; r < rounds; ++r) {
        asm volatile("" : "+v"(a));
        JAHP_UNROLL for (int i = 0; i < kSums; ++i)
            sums[i] = step(sums[i], a);
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "v"(sums[i]));
}

void run_i8(int64_t rounds) {
    run(rounds, [](__m512i sum, __m512i a) __attribute__((always_inline)) { return _mm512_dpbusd_epi32(sum, a, a); });
}
void run_i16(int64_t rounds) {
    run(rounds, [](__m512i sum, __m512i a) __attribute__((always_inline)) { return _mm512_dpwssd_epi32(sum, a, a); });
}

}  // namespace

const Peak kPeakI8Avx512vnni{kSums * 64, run_i8}, kPeakI16Avx512vnni{kSums * 32, run_i16};

}  // namespace jahp
