// SPDX-License-Identifier: Apache-2.0
// The elementwise halves of the adjoint of an inverse GDN, around the product with its gamma: for an encoder's search.
//
// Floats, one operation at a time, none fused: all instruction sets agree. r is at least 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// One entry a channel. See GdnAdjointKernel.
struct GdnAdjointFactors {
    const float *term, *direct, *cross;
};

// g: `positions` rows of `channels` values, a multiple of 16, within ±kSumLimit; x: what went into the inverse GDN,
// likewise; r: the roots that it multiplied by. Floats are clamped and then truncated.
struct GdnAdjointKernel {
    // terms = g x / r * term, within ±32767.
    void (*terms)(const std::int16_t* g, const std::int16_t* x, const std::uint16_t* r, std::ptrdiff_t positions,
                  std::ptrdiff_t channels, const float* term, std::int16_t* terms);
    // g = g r * direct + x * sums * cross, within ±kActivationLimit.
    void (*combine)(std::int16_t* g, const std::int16_t* x, const std::uint16_t* r, const std::int32_t* sums,
                    std::ptrdiff_t positions, std::ptrdiff_t channels, const GdnAdjointFactors& factors);
};

GdnAdjointKernel gdn_adjoint_for(Isa isa);

#define JAHP_GDN_ADJOINT(isa)                                                                                     \
    void gdn_adjoint_terms_##isa(const std::int16_t*, const std::int16_t*, const std::uint16_t*, std::ptrdiff_t,  \
                                 std::ptrdiff_t, const float*, std::int16_t*);                                    \
    void gdn_adjoint_combine_##isa(std::int16_t*, const std::int16_t*, const std::uint16_t*, const std::int32_t*, \
                                   std::ptrdiff_t, std::ptrdiff_t, const GdnAdjointFactors&)
JAHP_GDN_ADJOINT(scalar);
#if defined(__x86_64__)
JAHP_GDN_ADJOINT(avx2);
JAHP_GDN_ADJOINT(avx512vnni);
#elif defined(__aarch64__)
JAHP_GDN_ADJOINT(neon);
#elif defined(__wasm__)
JAHP_GDN_ADJOINT(wasm);
#endif
#undef JAHP_GDN_ADJOINT

}  // namespace jahp
