// SPDX-License-Identifier: Apache-2.0
// What a decoded position gives to the context layer (docs/reference/format.md, "The networks").
#pragma once

#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

struct ContextTable {
    const std::int32_t *mul, *add, *shift;  // one a channel
    std::int32_t limit;
    int channels;
};

// out[c] = clamp((y[c] * mul + add) >> shift, -limit, limit), >> arithmetic. Bit g % 64 of nonzero[g / 64] is set if
// one of the activations in the g-th four bytes of `out` is not 0. Returns the sum of out. `out` has room for, and
// zeros up to, a multiple of 16.
struct ContextInput {
    std::int32_t (*to_i8)(const std::int32_t* y, const ContextTable& table, std::int8_t* out, std::uint64_t* nonzero);
    std::int32_t (*to_i16)(const std::int32_t* y, const ContextTable& table, std::int16_t* out, std::uint64_t* nonzero);
};

// narrow: y * mul + add stays within 32 bits; only the scalar version does without.
ContextInput context_input_for(Isa isa, bool narrow);

std::int32_t context_input_i8_scalar(const std::int32_t* y, const ContextTable& table, std::int8_t* out,
                                     std::uint64_t* nonzero);
std::int32_t context_input_i16_scalar(const std::int32_t* y, const ContextTable& table, std::int16_t* out,
                                      std::uint64_t* nonzero);
#if defined(__x86_64__)
std::int32_t context_input_i8_avx2(const std::int32_t* y, const ContextTable& table, std::int8_t* out,
                                   std::uint64_t* nonzero);
std::int32_t context_input_i16_avx2(const std::int32_t* y, const ContextTable& table, std::int16_t* out,
                                    std::uint64_t* nonzero);
std::int32_t context_input_i8_avx512vnni(const std::int32_t* y, const ContextTable& table, std::int8_t* out,
                                         std::uint64_t* nonzero);
std::int32_t context_input_i16_avx512vnni(const std::int32_t* y, const ContextTable& table, std::int16_t* out,
                                          std::uint64_t* nonzero);
#elif defined(__wasm__)
std::int32_t context_input_i8_wasm(const std::int32_t* y, const ContextTable& table, std::int8_t* out,
                                   std::uint64_t* nonzero);
std::int32_t context_input_i16_wasm(const std::int32_t* y, const ContextTable& table, std::int16_t* out,
                                    std::uint64_t* nonzero);
#endif

}  // namespace jahp
