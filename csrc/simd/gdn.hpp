// SPDX-License-Identifier: Apache-2.0
// The elementwise halves of GDN, around the product with gamma, and of what an adjoint multiplies by in its place
// (docs/reference/format.md). Integers: all instruction sets agree.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr std::int32_t kActivationLimit = 8191, kSumLimit = 16383;
constexpr std::int32_t kSquareBias = 32768;  // taken off squares of 16 bits, so that they are signed

// Of a local gain, one entry a channel. Factors are at most 32767.
struct LocalGain {
    const std::int32_t *steady, *varying;  // 0 to 32767
    const std::int32_t *varying_shift, *shift;  // 0 to 31, 1 to 31
};

// x: `positions` rows of `channels` values, a multiple of 16, within ±kSumLimit; results are within ±kActivationLimit.
// norm: 1 to 2^31 - 1; r is the integer nearest to its root. Products are divided by 2^shift, rounded, halves up.
struct GdnKernel {
    // squares[i] = ((x[i]^2 + 2^11) >> 12) - kSquareBias, i < count, a multiple of 16.
    void (*squares)(const std::int16_t* x, std::ptrdiff_t count, std::int16_t* squares);
    // GDN: x times 2^30 / (r of norm * 2^(2 e)), by 2^(shift - e), where norm * 2^(2 e) is 2^29 or more. shift: 16 to
    // 31.
    void (*divide)(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                   const std::int32_t* shift);
    // Inverse GDN: x r. shift: 1 to 31.
    void (*multiply)(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                     const std::int32_t* shift);
    // The same, and roots[i] = r.
    void (*multiply_keep)(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                          const std::int32_t* shift, std::uint16_t* roots);
    // x times min(steady + (varying * roots >> varying_shift), 32767); squares[position] = the sum of the squares of
    // that factor / 32, rounded down. channels: at most 4096.
    void (*local)(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const LocalGain& gain,
                  const std::uint16_t* roots, std::uint32_t* squares);
};

GdnKernel gdn_for(Isa isa);

#define JAHP_GDN(isa)                                                                                                 \
    void gdn_squares_##isa(const std::int16_t*, std::ptrdiff_t, std::int16_t*);                                       \
    void gdn_divide_##isa(std::int16_t*, std::ptrdiff_t, std::ptrdiff_t, const std::int32_t*, const std::int32_t*);   \
    void gdn_multiply_##isa(std::int16_t*, std::ptrdiff_t, std::ptrdiff_t, const std::int32_t*, const std::int32_t*); \
    void gdn_multiply_keep_##isa(std::int16_t*, std::ptrdiff_t, std::ptrdiff_t, const std::int32_t*,                  \
                                 const std::int32_t*, std::uint16_t*);                                                \
    void gdn_local_##isa(std::int16_t*, std::ptrdiff_t, std::ptrdiff_t, const LocalGain&, const std::uint16_t*,       \
                         std::uint32_t*)
JAHP_GDN(scalar);
#if defined(__x86_64__)
JAHP_GDN(avx2);
JAHP_GDN(avx512vnni);
#elif defined(__aarch64__)
JAHP_GDN(neon);
#elif defined(__wasm__)
JAHP_GDN(wasm);
#endif
#undef JAHP_GDN

}  // namespace jahp
