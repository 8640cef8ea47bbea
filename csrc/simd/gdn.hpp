// SPDX-License-Identifier: Apache-2.0
// The elementwise halves of GDN, around the product with gamma, and of what an adjoint multiplies by in its place.
// Roots and quotients are rounded correctly, so that all instruction sets agree; `local` may differ by its rounding.
#pragma once

#include <cstddef>

#include "simd/isa.hpp"

namespace jahp {

struct GdnKernel {
    void (*squares)(const float* x, std::ptrdiff_t count, float* squares);  // squares[i] = x[i]^2
    void (*divide)(float* x, std::ptrdiff_t count, const float* norm);      // GDN: x[i] /= sqrt(norm[i])
    void (*multiply)(float* x, std::ptrdiff_t count, const float* norm);    // inverse GDN: x[i] *= sqrt(norm[i])
    void (*multiply_keep)(float* x, std::ptrdiff_t count, const float* norm,
                          float* roots);  // the same, and roots[i] = sqrt(norm[i])
    // Each position's channels, a multiple of 16: x *= steady + varying * roots; squares[position] = the sum of the
    // squares of that factor.
    void (*local)(float* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const float* steady,
                  const float* varying, const float* roots, float* squares);
};

GdnKernel gdn_for(Isa isa);

#define JAHP_GDN(isa)                                                           \
    void gdn_squares_##isa(const float*, std::ptrdiff_t, float*);               \
    void gdn_divide_##isa(float*, std::ptrdiff_t, const float*);                \
    void gdn_multiply_##isa(float*, std::ptrdiff_t, const float*);              \
    void gdn_multiply_keep_##isa(float*, std::ptrdiff_t, const float*, float*); \
    void gdn_local_##isa(float*, std::ptrdiff_t, std::ptrdiff_t, const float*, const float*, const float*, float*)
JAHP_GDN(scalar);
#if defined(__x86_64__)
JAHP_GDN(avx2);
JAHP_GDN(avx512vnni);
#elif defined(__aarch64__)
JAHP_GDN(neon);
#endif
#undef JAHP_GDN

}  // namespace jahp
