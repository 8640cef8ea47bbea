// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share. For gdn_*.cpp alone: internal linkage, so that each file has its own copy, vectorised for
// its own instructions (with -fno-math-errno: a root that sets errno is none).
#pragma once

#include "simd/gdn.hpp"

namespace jahp {
namespace {

inline void squares_loop(const float* __restrict x, std::ptrdiff_t count, float* __restrict squares) {
    for (std::ptrdiff_t i = 0; i < count; ++i) squares[i] = x[i] * x[i];
}

inline void divide_loop(float* __restrict x, std::ptrdiff_t count, const float* __restrict norm) {
    for (std::ptrdiff_t i = 0; i < count; ++i) x[i] /= __builtin_sqrtf(norm[i]);
}

inline void multiply_loop(float* __restrict x, std::ptrdiff_t count, const float* __restrict norm) {
    for (std::ptrdiff_t i = 0; i < count; ++i) x[i] *= __builtin_sqrtf(norm[i]);
}

}  // namespace
}  // namespace jahp
