// SPDX-License-Identifier: Apache-2.0
// Products of small integer matrices, the arithmetic of the whole entropy path.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// sums[p * outputs + o] = sum over k < depth of in[p * in_stride + k] * weight[o * depth + k],
// for p < positions, o < outputs. The caller has made sure that no sum of |products| reaches 2^31 (IntegerLayer does at
// construction), so the order of summation does not matter. depth is a multiple of 32: pad both sides with zeros.
// No alignment is required. sums does not overlap the inputs.
using DotI16 = void (*)(const std::int16_t* in, int in_stride, int positions, const std::int16_t* weight, int outputs, int depth,
                        std::int32_t* sums);

constexpr int kDotDepthMultiple = 32;

// The fastest version at or below `isa`.
DotI16 dot_i16_for(Isa isa);

void dot_i16_scalar(const std::int16_t* in, int in_stride, int positions, const std::int16_t* weight, int outputs, int depth,
                    std::int32_t* sums);
#if defined(__x86_64__)
void dot_i16_avx2(const std::int16_t* in, int in_stride, int positions, const std::int16_t* weight, int outputs, int depth,
                  std::int32_t* sums);
void dot_i16_avx512vnni(const std::int16_t* in, int in_stride, int positions, const std::int16_t* weight, int outputs, int depth,
                        std::int32_t* sums);
#endif

}  // namespace jahp
