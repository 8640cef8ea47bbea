// SPDX-License-Identifier: Apache-2.0
// The loop that the instruction sets of 64-bit Arm share. For peak_neon.cpp and peak_i8mm.cpp alone: internal linkage,
// so that each file has its own copy.
#pragma once

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

}  // namespace
}  // namespace jahp
