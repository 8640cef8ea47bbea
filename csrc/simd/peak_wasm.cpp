// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128: includes intrinsics, C headers and plain structs only.
#include <wasm_simd128.h>

#include "simd/peak.hpp"
#include "simd/unroll.hpp"

namespace jahp {
namespace {

constexpr int kSums = 12;

void run(int64_t rounds) {
    v128_t sums[kSums], a = wasm_i8x16_const_splat(3);
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        sums[i] = wasm_i32x4_splat(i);
    for (int64_t r = 0; r < rounds; ++r) {
        JAHP_UNROLL for (int i = 0; i < kSums; ++i)  // each sum with itself: no product is taken twice
            sums[i] = wasm_i32x4_add(sums[i], wasm_i32x4_dot_i16x8(sums[i], a));
    }
    JAHP_UNROLL for (int i = 0; i < kSums; ++i)
        asm volatile("" : : "m"(sums[i]));
}

}  // namespace

const Peak kPeakI16Wasm{kSums * 8, run};

}  // namespace jahp
