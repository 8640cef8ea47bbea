// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavxvnni: includes intrinsics, C headers and plain structs only.
#include <immintrin.h>

#include "simd/peak.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kSums = 12;

void run(int64_t rounds) {
    __m256i sums[kSums], a = _mm256_set1_epi8(3);
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        sums[i] = _mm256_set1_epi32(i);
    for (int64_t r = 0; r < rounds; ++r) {
        asm volatile("" : "+x"(a));
        JAHP_UNROLL for (int i = 0; i < kSums; ++i)
            sums[i] = _mm256_dpbusd_avx_epi32(sums[i], a, a);
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "x"(sums[i]));
}

}  // namespace

const Peak kPeakI8Avxvnni{kSums * 32, run};

}  // namespace jahp
