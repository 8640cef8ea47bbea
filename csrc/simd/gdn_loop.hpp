// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share. For gdn_*.cpp alone: internal linkage, so that each file has its own copy,
// vectorised for its own instructions (with -fno-math-errno: a root that sets errno is none).
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

inline void multiply_keep_loop(float* __restrict x, std::ptrdiff_t count, const float* __restrict norm,
                               float* __restrict roots) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        roots[i] = __builtin_sqrtf(norm[i]);
        x[i] *= roots[i];
    }
}

inline void local_loop(float* __restrict x, std::ptrdiff_t positions, std::ptrdiff_t channels,
                       const float* __restrict steady, const float* __restrict varying, const float* __restrict roots,
                       float* __restrict squares) {
    constexpr int kLanes = 16;
    for (std::ptrdiff_t p = 0; p < positions; ++p, x += channels, roots += channels) {
        float sums[kLanes] = {};
        for (std::ptrdiff_t first = 0; first < channels; first += kLanes)
            for (std::ptrdiff_t i = 0; i < kLanes; ++i) {
                const float factor = steady[first + i] + varying[first + i] * roots[first + i];
                x[first + i] *= factor;
                sums[i] += factor * factor;
            }
        for (int width = kLanes / 2; width > 0; width /= 2)
            for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
        squares[p] = sums[0];
    }
}

}  // namespace
}  // namespace jahp
