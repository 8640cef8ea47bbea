// SPDX-License-Identifier: Apache-2.0
#include "simd/peak.hpp"

namespace jahp {
namespace {

constexpr int kSums = 64;

void run(std::int64_t rounds) {
    std::int32_t sums[kSums] = {};
    std::int16_t a = 3, b = 5;
    for (std::int64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+r"(a), "+r"(b));
        for (std::int32_t& sum : sums) sum += a * b;
    }
    asm volatile("" : : "m"(sums));
}

}  // namespace

const Peak kPeakI16Scalar{kSums, run};

}  // namespace jahp
