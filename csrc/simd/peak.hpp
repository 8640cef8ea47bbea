// SPDX-License-Identifier: Apache-2.0
// The ceilings that the products of csrc/simd/dot* and csrc/simd/matmul_i16* are held against.
#pragma once

#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// Runs `rounds` rounds of the instruction that dot_kernel_for(isa, limit), and for more than 8 bits the best kernel of
// matmul_i16_for(isa, pairs), is built on, on registers alone, and returns how many multiply-adds that were.
std::int64_t peak_products(Isa isa, std::int32_t limit, std::int64_t rounds);

// Multiply-adds of one round of the version for an instruction set, and the loop itself.
struct Peak {
    int products;
    void (*run)(std::int64_t rounds);
};
extern const Peak kPeakI16Scalar;
#if defined(__x86_64__)
extern const Peak kPeakI16Avx2, kPeakI8Avxvnni, kPeakI8Avx512vnni, kPeakI16Avx512vnni;
#elif defined(__aarch64__)
extern const Peak kPeakI8Neon, kPeakI16Neon, kPeakI16I8mm;
#elif defined(__wasm__)
extern const Peak kPeakI16Wasm;
#endif

}  // namespace jahp
