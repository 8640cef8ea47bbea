// SPDX-License-Identifier: Apache-2.0
// The ceilings that the products of csrc/simd/dot* and csrc/simd/matmul_f32* are held against.
#pragma once

#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// Runs `rounds` rounds of the instruction that dot_kernel_for(isa, limit) is built on, on registers alone, and returns
// how many multiply-adds that were.
std::int64_t peak_products(Isa isa, std::int32_t limit, std::int64_t rounds);

// The same of the float32 products that matmul_f32_for(isa) is built on.
std::int64_t peak_f32_products(Isa isa, std::int64_t rounds);

// Multiply-adds of one round of the version for an instruction set, and the loop itself.
struct Peak {
    int products;
    void (*run)(std::int64_t rounds);
};
extern const Peak kPeakI16Scalar, kPeakF32Scalar;
#if defined(__x86_64__)
extern const Peak kPeakI16Avx2, kPeakF32Avx2, kPeakI8Avxvnni, kPeakI8Avx512vnni, kPeakI16Avx512vnni, kPeakF32Avx512vnni;
#elif defined(__aarch64__)
extern const Peak kPeakI8Neon, kPeakI16Neon, kPeakF32Neon;
#endif

}  // namespace jahp
