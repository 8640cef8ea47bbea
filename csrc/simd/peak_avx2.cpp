// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2: includes intrinsics, C headers and plain structs only.
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
        JAHP_UNROLL for (int i = 0; i < kSums; ++i) {
            asm volatile("" : "+x"(a));  // before each product, which would else be taken once a round
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(a, a));
        }
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "x"(sums[i]));
}

}  // namespace

const Peak kPeakI16Avx2{kSums * 16, run};

}  // namespace jahp
