// SPDX-License-Identifier: Apache-2.0
#include "simd/peak.hpp"

#include "simd/dot.hpp"

namespace jahp {
namespace {

const Peak& peak_for(Isa isa, std::int32_t limit) {
    const Dot dot = dot_kernel_for(isa, limit).dot;
#if defined(__x86_64__)
    if (dot == dot_i8_avx512vnni) return kPeakI8Avx512vnni;
    if (dot == dot_i16_avx512vnni) return kPeakI16Avx512vnni;
    if (dot == dot_i8_avxvnni) return kPeakI8Avxvnni;
    if (dot == dot_i16_avx2) return kPeakI16Avx2;
#elif defined(__aarch64__)
    if (dot == dot_i8_neon) return kPeakI8Neon;
    if (dot == dot_i16_neon) return isa >= Isa::i8mm ? kPeakI16I8mm : kPeakI16Neon;
#elif defined(__wasm__)
    if (dot == dot_i16_wasm) return kPeakI16Wasm;
#else
    (void)dot;
#endif
    return kPeakI16Scalar;
}

}  // namespace

std::int64_t peak_products(Isa isa, std::int32_t limit, std::int64_t rounds) {
    const Peak& peak = peak_for(isa, limit);
    peak.run(rounds);
    return rounds * peak.products;
}

}  // namespace jahp
