// SPDX-License-Identifier: Apache-2.0
// The sums of a 5x5 transposed convolution of stride 2 with few outputs, of which all 25 products of an input position
// and each output have been computed: those that meet in an output are added.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kOverlapBeyond = 8;  // values that may be read, and are written, behind the last

// rows[t] + j * stride: the products of column j of an input row with a row of the kernel, 5 columns of `outputs` each,
// for the `count` <= 3 pairs of such rows that meet in a row of outputs. Writes that row's sums, modulo 2^32: output
// columns 2 j and 2 j + 1 beside one another, sums[2 * outputs * j + o] = sum over t of
//     rows[t][(j + 1) * stride + o] + rows[t][j * stride + 2 * outputs + o]
//     + (o < outputs ? rows[t][(j - 1) * stride + 4 * outputs + o] : 0),   0 <= j < columns, o < 2 * outputs.
struct OverlapArguments {
    const std::int32_t* const* rows;
    int count;
    std::ptrdiff_t stride;
    int columns, outputs;
    std::int32_t* sums;
};

using Overlap = void (*)(const OverlapArguments&);

Overlap overlap_for(Isa isa);

void overlap_scalar(const OverlapArguments& a);
#if defined(__x86_64__)
void overlap_avx2(const OverlapArguments& a);
#elif defined(__aarch64__)
void overlap_neon(const OverlapArguments& a);
#elif defined(__wasm__)
void overlap_wasm(const OverlapArguments& a);
#endif

}  // namespace jahp
