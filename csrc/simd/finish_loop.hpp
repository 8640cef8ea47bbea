// SPDX-License-Identifier: Apache-2.0
// The loops that the instruction sets share. For finish_*.cpp alone: internal linkage, so that each file has its own
// copy, vectorised for its own instructions.
#pragma once

#include "simd/finish.hpp"

namespace jahp {
namespace {

template <bool kLeaky, typename Out>
inline void finish_rows(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                        const FinishTable& t, Out* out, std::ptrdiff_t out_stride) {
    const std::int32_t low = t.low, high = t.high;
    for (int p = 0; p < positions; ++p) {
        const std::int32_t* __restrict s = sums + p * sums_stride;
        const std::int32_t* __restrict offset = t.offset, * __restrict shift = t.shift;
        Out* __restrict to = out + p * out_stride;
        for (int o = 0; o < channels; ++o) {
            std::int32_t x = static_cast<std::int32_t>(4 * static_cast<std::uint32_t>(s[o]) +
                                                       static_cast<std::uint32_t>(offset[o])) >>
                             shift[o];
            x = x < low ? low : x;
            x = x > high ? high : x;
            if (kLeaky) x = x < 0 ? (x * kLeakyMul + (1 << (kLeakyShift - 1))) >> kLeakyShift : x;
            to[o] = static_cast<Out>(x);
        }
    }
}

template <typename Out>
inline void finish_loop(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                        const FinishTable& t, Out* out, std::ptrdiff_t out_stride) {
    t.leaky ? finish_rows<true>(sums, sums_stride, positions, channels, t, out, out_stride)
            : finish_rows<false>(sums, sums_stride, positions, channels, t, out, out_stride);
}

}  // namespace
}  // namespace jahp
