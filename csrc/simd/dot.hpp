// SPDX-License-Identifier: Apache-2.0
// Products of small integer matrices, the arithmetic of the whole entropy path: convolutions, their phases and 1x1
// layers.
//
// A call multiplies the inputs of some positions, a constant stride apart, by blocks of 16 outputs. Inputs are read in
// groups, 4 bytes wide whatever the activations: 4 of 8 bits (dot_i8) or 2 of 16 bits (dot_i16). A list names the
// groups by where they lie and which weights they meet, so that one kernel serves every set of taps and skips groups
// that are known to be zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kDotOutputs = 16;     // a block of outputs
constexpr int kDotGroupBytes = 4;   // of activations

struct DotGroup {
    std::int32_t input;   // activations from the position's own address to the group
    std::int32_t weight;  // index of the weights' group within a block
};

// sums[p * sums_stride + 16 b + o] (+)= start[p] + sum over listed groups g, elements e of
//     in[p * in_stride + groups[g].input + e] * weight(b, groups[g].weight, o, e),   p < positions, b < blocks, o < 16.
// The caller has made sure that no sum of |products| reaches 2^31 (IntegerLayer does at construction), so the order of
// summation does not matter; with biased weights partial sums are right modulo 2^32. No alignment is required.
struct DotArguments {
    const void* in;             // int8 or int16
    std::ptrdiff_t in_stride;   // in activations
    int positions;
    const DotGroup* groups;
    int group_count;
    const std::uint8_t* weight;     // blocks, in each the groups, in each 16 outputs x (4 or 2) bytes
    std::ptrdiff_t block_stride;    // in bytes
    int blocks;
    const std::int32_t* start;  // one a position, or null for zeros
    std::int32_t* sums;
    std::ptrdiff_t sums_stride;
    bool add;                   // to what sums holds
};

using Dot = void (*)(const DotArguments&);

// out[p] = -128 * (sum of `length` activations), length a multiple of 16: what `start` must be for biased weights.
using RowSums = void (*)(const std::int8_t* in, std::ptrdiff_t stride, int positions, int length, std::int32_t* out);

struct DotKernel {
    Dot dot;
    bool bytes;         // activations are int8, else int16
    bool biased;        // weights are stored plus 128, as unsigned bytes: the instruction wants one unsigned operand
    RowSums row_sums;   // null unless biased
};

// The fastest kernel at or below `isa` for |activations| <= limit (127 or 4095). Without an instruction that sums
// products of bytes, activations of 8 bits are kept as int16 too.
DotKernel dot_kernel_for(Isa isa, std::int32_t limit);

// The oracles. dot_i8_scalar takes biased weights, as the x86 kernels do; dot_i16_scalar signed ones.
void dot_i8_scalar(const DotArguments& a);
void dot_i16_scalar(const DotArguments& a);
void row_sums_scalar(const std::int8_t* in, std::ptrdiff_t stride, int positions, int length, std::int32_t* out);
#if defined(__x86_64__)
void dot_i16_avx2(const DotArguments& a);
void dot_i8_avxvnni(const DotArguments& a);
void row_sums_avxvnni(const std::int8_t* in, std::ptrdiff_t stride, int positions, int length, std::int32_t* out);
void dot_i8_avx512vnni(const DotArguments& a);
void row_sums_avx512vnni(const std::int8_t* in, std::ptrdiff_t stride, int positions, int length, std::int32_t* out);
void dot_i16_avx512vnni(const DotArguments& a);
#elif defined(__aarch64__)
void dot_i8_neon(const DotArguments& a);  // signed weights
void dot_i16_neon(const DotArguments& a);
#elif defined(__wasm__)
void dot_i16_wasm(const DotArguments& a);
#endif

}  // namespace jahp
