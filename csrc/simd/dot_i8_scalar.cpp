// SPDX-License-Identifier: Apache-2.0
#include "simd/dot.hpp"

namespace jahp {

void dot_i8_scalar(const DotArguments& a) {
    for (int p = 0; p < a.positions; ++p)
        for (int b = 0; b < a.blocks; ++b)
            for (int o = 0; o < kDotOutputs; ++o) {
                std::uint32_t sum = a.start == nullptr
                                        ? 0
                                        : static_cast<std::uint32_t>(a.start[p]);  // wraps: right modulo 2^32
                for (int g = 0; g < a.group_count; ++g) {
                    const std::int8_t* in = static_cast<const std::int8_t*>(a.in) + p * a.in_stride + a.groups[g].input;
                    const std::uint8_t* w = a.weight + b * a.block_stride + std::ptrdiff_t{a.groups[g].weight} * 64 +
                                            o * 4;
                    for (int e = 0; e < 4; ++e) sum += static_cast<std::uint32_t>(in[e] * w[e]);
                }
                std::int32_t& out = a.sums[p * a.sums_stride + b * kDotOutputs + o];
                out = static_cast<std::int32_t>(sum + (a.add ? static_cast<std::uint32_t>(out) : 0));
            }
}

void row_sums_scalar(const std::int8_t* in, std::ptrdiff_t stride, int positions, int length, std::int32_t* out) {
    for (int p = 0; p < positions; ++p) {
        std::int32_t sum = 0;
        for (int i = 0; i < length; ++i) sum += in[p * stride + i];
        out[p] = -128 * sum;
    }
}

}  // namespace jahp
