// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod: includes intrinsics, C headers and plain structs only.
#include "simd/peak_neon_loop.hpp"

namespace jahp {
namespace {

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
