// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share. For gdn_adjoint_*.cpp alone: internal linkage, so that each file has its
// own copy, vectorised for its own instructions, with -ffp-contract=off.
#pragma once

#include "simd/gdn.hpp"
#include "simd/gdn_adjoint.hpp"

namespace jahp {
namespace {

// What is not a number, as factors beyond all use can make it, becomes -limit.
inline std::int16_t held(float value, float limit) {
    value = value > -limit ? value : -limit;
    value = value < limit ? value : limit;
    return static_cast<std::int16_t>(static_cast<std::int32_t>(value));
}

inline void terms_loop(const std::int16_t* g, const std::int16_t* x, const std::uint16_t* r, std::ptrdiff_t positions,
                       std::ptrdiff_t channels, const float* term, std::int16_t* terms) {
    for (std::ptrdiff_t p = 0; p < positions; ++p) {
        const std::int16_t* __restrict a = g + p * channels, * __restrict b = x + p * channels;
        const std::uint16_t* __restrict root = r + p * channels;
        const float* __restrict factor = term;
        std::int16_t* __restrict to = terms + p * channels;
        for (std::ptrdiff_t i = 0; i < channels; ++i)
            to[i] = held(static_cast<float>(a[i] * b[i]) / static_cast<float>(root[i]) * factor[i], 32767.0f);
    }
}

inline void combine_loop(std::int16_t* g, const std::int16_t* x, const std::uint16_t* r, const std::int32_t* sums,
                         std::ptrdiff_t positions, std::ptrdiff_t channels, const GdnAdjointFactors& factors) {
    for (std::ptrdiff_t p = 0; p < positions; ++p) {
        std::int16_t* __restrict value = g + p * channels;
        const std::int16_t* __restrict b = x + p * channels;
        const std::uint16_t* __restrict root = r + p * channels;
        const std::int32_t* __restrict sum = sums + p * channels;
        const float* __restrict direct = factors.direct, * __restrict cross = factors.cross;
        for (std::ptrdiff_t i = 0; i < channels; ++i) {
            const float own = static_cast<float>(value[i] * root[i]) * direct[i];
            const float others = static_cast<float>(b[i]) * static_cast<float>(sum[i]) * cross[i];
            value[i] = held(own + others, static_cast<float>(kActivationLimit));
        }
    }
}

}  // namespace
}  // namespace jahp
