// SPDX-License-Identifier: Apache-2.0
// From sums to activations or parameters (docs/format.md, "Integer arithmetic").
#pragma once

#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// One entry an output. The arrays have room up to a multiple of 16 entries.
struct RequantTable {
    const std::int32_t *bias, *mul_pos, *mul_neg, *shift, *zero;
    std::int32_t limit;
};

// out[o] = clamp(((s * (s < 0 ? mul_neg : mul_pos) + 2^(shift-1)) >> shift) + zero, -limit, limit), s = sums[o] + bias[o],
// for o < n; the product in 64 bits, >> arithmetic. s does not overflow 32 bits (IntegerLayer has made sure).
// sums has room up to a multiple of 16 entries, out has not.
struct Requantise {
    void (*to_i16)(const std::int32_t* sums, const RequantTable& table, int n, std::int16_t* out);
    void (*to_i32)(const std::int32_t* sums, const RequantTable& table, int n, std::int32_t* out);
};

Requantise requantise_for(Isa isa);

void requantise_i16_scalar(const std::int32_t* sums, const RequantTable& table, int n, std::int16_t* out);
void requantise_i32_scalar(const std::int32_t* sums, const RequantTable& table, int n, std::int32_t* out);
#if defined(__x86_64__)
void requantise_i16_avx512vnni(const std::int32_t* sums, const RequantTable& table, int n, std::int16_t* out);
void requantise_i32_avx512vnni(const std::int32_t* sums, const RequantTable& table, int n, std::int32_t* out);
#endif

}  // namespace jahp
