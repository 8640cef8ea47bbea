// SPDX-License-Identifier: Apache-2.0
#include "simd/dot.hpp"

namespace jahp {

void dot_i16_scalar(const DotArguments& a) {
    for (int b = 0; b < a.blocks; ++b)
        for (int p = 0; p < a.positions; ++p) {
            std::int32_t* out = a.sums + p * a.sums_stride + b * kDotOutputs;
            std::int32_t sum[kDotOutputs];
            for (int o = 0; o < kDotOutputs; ++o) sum[o] = (a.start == nullptr ? 0 : a.start[p]) + (a.add ? out[o] : 0);
            const std::int16_t* row = static_cast<const std::int16_t*>(a.in) + p * a.in_stride;
            const auto* weight = reinterpret_cast<const std::int8_t*>(a.weight) + b * a.block_stride;
            for (int g = 0; g < a.group_count; ++g) {
                const std::int16_t* in = row + a.groups[g].input;
                const std::int8_t* w = weight + std::ptrdiff_t{a.groups[g].weight} * 32;
                const std::int32_t first = in[0], second = in[1];
                for (int o = 0; o < kDotOutputs; ++o) sum[o] += first * w[2 * o] + second * w[2 * o + 1];
            }
            for (int o = 0; o < kDotOutputs; ++o) out[o] = sum[o];
        }
}

}  // namespace jahp
