// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i8.hpp"

namespace jahp {

void dot_i8_scalar(const std::uint8_t* in, int positions, const std::int8_t* weight, int blocks, int depth, std::int32_t* sums, int stride) {
    for (int p = 0; p < positions; ++p)
        for (int o = 0; o < blocks * kDotI8Outputs; ++o) {
            std::int32_t sum = 0;
            for (int k = 0; k < depth; ++k) sum += std::int32_t{in[p * depth + k]} * weight[dot_i8_offset(o, k, depth)];
            sums[static_cast<std::ptrdiff_t>(p) * stride + o] = sum;
        }
}

}  // namespace jahp
