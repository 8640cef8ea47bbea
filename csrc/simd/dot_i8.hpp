// SPDX-License-Identifier: Apache-2.0
// Products of matrices of 8-bit integers: the arithmetic of models with 8-bit activations, where an instruction set has it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kDotI8Outputs = 16;  // a block of outputs, weights interleaved as the kernels read them
constexpr int kDotI8Depth = 4;     // and the group of inputs that one instruction sums

// Where weight (o, k) stands: blocks of 16 outputs, in each depth / 4 groups, in each 16 x 4 bytes.
// depth is a multiple of 4; outputs are rounded up to 16 with zeros.
inline std::size_t dot_i8_offset(int o, int k, int depth) {
    const auto block = static_cast<std::size_t>(o / kDotI8Outputs), group = static_cast<std::size_t>(k / kDotI8Depth);
    const auto inside = static_cast<std::size_t>(o % kDotI8Outputs * kDotI8Depth + k % kDotI8Depth);
    return (block * static_cast<std::size_t>(depth / kDotI8Depth) + group) * (kDotI8Outputs * kDotI8Depth) + inside;
}

// sums[p * stride + o] = sum over k < depth of in[p * depth + k] * weight(o, k), p < positions, o < blocks * 16.
// `in` holds unsigned bytes, activations plus 128: the caller takes 128 * (sum of weights) off again.
// The caller has made sure that the sums fit 32 bits. No alignment is required.
using DotI8 = void (*)(const std::uint8_t* in, int positions, const std::int8_t* weight, int blocks, int depth, std::int32_t* sums,
                       int stride);

// Null where no instruction set at or below `isa` has it: use dot_i16.
DotI8 dot_i8_for(Isa isa);

void dot_i8_scalar(const std::uint8_t* in, int positions, const std::int8_t* weight, int blocks, int depth, std::int32_t* sums, int stride);
#if defined(__x86_64__)
void dot_i8_avx512vnni(const std::uint8_t* in, int positions, const std::int8_t* weight, int blocks, int depth, std::int32_t* sums,
                       int stride);
#endif

}  // namespace jahp
