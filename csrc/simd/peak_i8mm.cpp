// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod+i8mm: includes intrinsics, C headers and plain structs only.
#include "simd/peak_neon_loop.hpp"

namespace jahp {
namespace {

void run_i16(int64_t rounds) {
    run(rounds, [](int32x4_t sum, int8x16_t a) { return vmmlaq_s32(sum, a, a); });
}

}  // namespace

// Of 32 products of bytes, four make one of 16 bits.
const Peak kPeakI16I8mm{kSums * 8, run_i16};

}  // namespace jahp
