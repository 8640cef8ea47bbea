// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share. For gdn_*.cpp alone: internal linkage, so that each file has its own copy,
// vectorised for its own instructions (with -fno-math-errno: a root that sets errno is none). Floats give roots and
// quotients that are too small by one at most, and integers put them right: no rounding of a float is seen outside.
#pragma once

#include "simd/gdn.hpp"

namespace jahp {
namespace {

// Truncated, what a float has becomes the wanted integer or the one below: its error is less than 1/64.
constexpr float kNearly = 0.5f - 1.0f / 64;

// The integer nearest to the root of n: r^2 - r < n <= r^2 + r.
inline std::int32_t root_of(std::int32_t n) {
    const auto r = static_cast<std::int32_t>(__builtin_sqrtf(static_cast<float>(n)) + kNearly);
    const auto d = static_cast<std::int32_t>(static_cast<std::uint32_t>(n) -
                                             static_cast<std::uint32_t>(r) * static_cast<std::uint32_t>(r));
    return r + (d > r ? 1 : 0);
}

// The integer nearest to 2^30 / r, for r from 23170 to 46341: none is halfway between two.
inline std::int32_t reciprocal_of(std::int32_t r) {
    const auto m = static_cast<std::int32_t>(1073741824.0f / static_cast<float>(r) + kNearly);
    return m + (2 * ((1 << 30) - m * r) > r ? 1 : 0);
}

// product / 2^shift, rounded and clamped, for shifts from 1 on.
inline std::int32_t scaled_down(std::int32_t product, std::int32_t shift) {
    std::int32_t y = ((product >> (shift - 1)) + 1) >> 1;
    y = y < -kActivationLimit ? -kActivationLimit : y;
    return y > kActivationLimit ? kActivationLimit : y;
}

inline void squares_loop(const std::int16_t* __restrict x, std::ptrdiff_t count, std::int16_t* __restrict squares) {
    for (std::ptrdiff_t i = 0; i < count; ++i)
        squares[i] = static_cast<std::int16_t>(((x[i] * x[i] + (1 << 11)) >> 12) - kSquareBias);
}

inline void divide_loop(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                        const std::int32_t* shift) {
    for (std::ptrdiff_t p = 0; p < positions; ++p) {
        std::int16_t* __restrict value = x + p * channels;
        const std::int32_t* __restrict from = norm + p * channels, * __restrict by = shift;
        for (std::ptrdiff_t i = 0; i < channels; ++i) {
            // Where n's highest bit is, the exponent of a float says: the bit below it is cleared, so that it cannot be
            // rounded up to the next.
            const std::int32_t n = from[i];
            const auto bits = __builtin_bit_cast(std::int32_t, static_cast<float>(n & ~(n >> 1)));
            const std::int32_t e = (30 + 127 - (bits >> 23)) >> 1;
            const std::int32_t m = reciprocal_of(root_of(n << (2 * e)));
            value[i] = static_cast<std::int16_t>(scaled_down(value[i] * m, by[i] - e));
        }
    }
}

template <bool kKeep>
inline void multiply_loop(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                          const std::int32_t* shift, std::uint16_t* roots) {
    for (std::ptrdiff_t p = 0; p < positions; ++p) {
        std::int16_t* __restrict value = x + p * channels;
        std::uint16_t* __restrict keep = kKeep ? roots + p * channels : nullptr;
        const std::int32_t* __restrict from = norm + p * channels, * __restrict by = shift;
        for (std::ptrdiff_t i = 0; i < channels; ++i) {
            const std::int32_t r = root_of(from[i]);
            if (kKeep) keep[i] = static_cast<std::uint16_t>(r);
            value[i] = static_cast<std::int16_t>(scaled_down(value[i] * r, by[i]));
        }
    }
}

inline void local_loop(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const LocalGain& gain,
                       const std::uint16_t* roots, std::uint32_t* squares) {
    for (std::ptrdiff_t p = 0; p < positions; ++p) {
        std::int16_t* __restrict value = x + p * channels;
        const std::uint16_t* __restrict root = roots + p * channels;
        const std::int32_t* __restrict steady = gain.steady, * __restrict varying = gain.varying, * __restrict varying_shift = gain.varying_shift, * __restrict shift = gain.shift;
        std::uint32_t sum = 0;
        for (std::ptrdiff_t i = 0; i < channels; ++i) {
            std::int32_t factor = steady[i] + ((varying[i] * root[i]) >> varying_shift[i]);
            factor = factor > 32767 ? 32767 : factor;
            const auto part = static_cast<std::uint32_t>(factor >> 5);
            sum += part * part;
            value[i] = static_cast<std::int16_t>(scaled_down(value[i] * factor, shift[i]));
        }
        squares[p] = sum;
    }
}

}  // namespace
}  // namespace jahp
