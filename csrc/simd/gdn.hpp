// SPDX-License-Identifier: Apache-2.0
// The elementwise halves of GDN, around the product with gamma. Roots and quotients are rounded correctly, so that all
// instruction sets agree.
#pragma once

#include <cstddef>

#include "simd/isa.hpp"

namespace jahp {

struct GdnKernel {
    void (*squares)(const float* x, std::ptrdiff_t count, float* squares);  // squares[i] = x[i]^2
    void (*divide)(float* x, std::ptrdiff_t count, const float* norm);      // GDN: x[i] /= sqrt(norm[i])
    void (*multiply)(float* x, std::ptrdiff_t count, const float* norm);    // inverse GDN: x[i] *= sqrt(norm[i])
};

GdnKernel gdn_for(Isa isa);

#define JAHP_GDN(isa)                                                       \
    void gdn_squares_##isa(const float*, std::ptrdiff_t, float*);           \
    void gdn_divide_##isa(float*, std::ptrdiff_t, const float*);            \
    void gdn_multiply_##isa(float*, std::ptrdiff_t, const float*)
JAHP_GDN(scalar);
#if defined(__x86_64__)
JAHP_GDN(avx2);
JAHP_GDN(avx512vnni);
#elif defined(__aarch64__)
JAHP_GDN(neon);
#endif
#undef JAHP_GDN

}  // namespace jahp
