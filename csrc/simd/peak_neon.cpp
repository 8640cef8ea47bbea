// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include <arm_neon.h>

#include "simd/peak.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kSums = 16;

template <typename Step>
void run(int64_t rounds, const Step& step) {
    int32x4_t sums[kSums];
    int8x16_t a = vdupq_n_s8(3);
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        sums[i] = vdupq_n_s32(i);
    for (int64_t r = 0; r < rounds; ++r) {
        asm volatile("" : "+w"(a));  // it may have changed: the loop stays
        JAHP_UNROLL for (int i = 0; i < kSums; ++i)
            sums[i] = step(sums[i], a);
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "w"(sums[i]));
}

void run_i8(int64_t rounds) {
    run(rounds, [](int32x4_t sum, int8x16_t a) { return vdotq_s32(sum, a, a); });
}
void run_i16(int64_t rounds) {
    run(rounds, [](int32x4_t sum, int8x16_t a) {
        const int16x4_t b = vget_low_s16(vreinterpretq_s16_s8(a));
        return vmlal_s16(sum, b, b);
    });
}

}  // namespace

const Peak kPeakI8Neon{kSums * 16, run_i8}, kPeakI16Neon{kSums * 4, run_i16};

}  // namespace jahp
