// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i16.hpp"

namespace jahp {

void dot_i16_scalar(const std::int16_t* in, int in_stride, int positions, const std::int16_t* weight, int outputs, int depth,
                    std::int32_t* sums) {
    for (int o = 0; o < outputs; ++o) {
        const std::int16_t* w = weight + static_cast<std::ptrdiff_t>(o) * depth;
        for (int p = 0; p < positions; ++p) {
            const std::int16_t* a = in + static_cast<std::ptrdiff_t>(p) * in_stride;
            std::int32_t sum = 0;
            for (int k = 0; k < depth; ++k) sum += std::int32_t{a[k]} * w[k];
            sums[static_cast<std::ptrdiff_t>(p) * outputs + o] = sum;
        }
    }
}

}  // namespace jahp
