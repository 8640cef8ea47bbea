// SPDX-License-Identifier: Apache-2.0
// From sums to activations or parameters (docs/reference/format.md, "Integer arithmetic").
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// One entry an output; the arrays have whole blocks of 16.
struct RequantTable {
    const std::int32_t *bias, *mul_pos, *mul_neg, *shift, *zero;
    std::int32_t limit;
};

// out[p * out_stride + o] = clamp(((s * (s < 0 ? mul_neg : mul_pos) + 2^(shift-1)) >> shift) + zero, -limit, limit),
// s = sums[p * sums_stride + o] + bias[first + o] and so on, for p < positions, o < 16 * blocks; the product in 64
// bits, >> arithmetic. s does not overflow 32 bits (IntegerLayer has made sure).
struct Requantise {
    template <typename Out>
    using To = void (*)(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, const RequantTable& table,
                        int first, int blocks, Out* out, std::ptrdiff_t out_stride);
    To<std::int8_t> to_i8;
    To<std::int16_t> to_i16;
    To<std::int32_t> to_i32;
};

// narrow: no reachable |s * mul + 2^(shift-1)| >> shift, zero included, reaches 2^31; only the scalar version does
// without.
Requantise requantise_for(Isa isa, bool narrow);

#define JAHP_REQUANTISE(isa)                                                                                          \
    void requantise_i8_##isa(const std::int32_t*, std::ptrdiff_t, int, const RequantTable&, int, int, std::int8_t*,   \
                             std::ptrdiff_t);                                                                         \
    void requantise_i16_##isa(const std::int32_t*, std::ptrdiff_t, int, const RequantTable&, int, int, std::int16_t*, \
                              std::ptrdiff_t);                                                                        \
    void requantise_i32_##isa(const std::int32_t*, std::ptrdiff_t, int, const RequantTable&, int, int, std::int32_t*, \
                              std::ptrdiff_t)
JAHP_REQUANTISE(scalar);
#if defined(__x86_64__)
JAHP_REQUANTISE(avx2);
JAHP_REQUANTISE(avx512vnni);
#elif defined(__aarch64__)
JAHP_REQUANTISE(neon);
#elif defined(__wasm__)
JAHP_REQUANTISE(wasm);
#endif
#undef JAHP_REQUANTISE

}  // namespace jahp
