// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod+i8mm: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/peak.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kSums = 16;

void run(int64_t rounds) {
    int32x4_t sums[kSums];
    int8x16_t a = vdupq_n_s8(3);
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        sums[i] = vdupq_n_s32(i);
    for (int64_t r = 0; r < rounds; ++r) {
        asm volatile("" : "+w"(a));  // it may have changed: the loop stays
        JAHP_UNROLL for (int i = 0; i < kSums; ++i)
            sums[i] = vmmlaq_s32(sums[i], a, a);
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "w"(sums[i]));
}

}  // namespace

// Of 32 products of bytes, four make one of 16 bits.
const Peak kPeakI16I8mm{kSums * 8, run};

}  // namespace jahp
