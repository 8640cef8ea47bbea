// SPDX-License-Identifier: Apache-2.0
// Loops that the compiler vectorises for the instructions of each file that includes this; for context_input_*.cpp
// alone.
#pragma once

#include <stdint.h>
#include <string.h>

#include "simd/context_input.hpp"

namespace jahp {
namespace {

// Which of the n <= 16 groups of four bytes at p are not zero, one by one.
[[maybe_unused]] inline uint32_t nonzero_groups(const uint8_t* p, int n) {
    uint32_t set = 0;
    for (int g = 0; g < n; ++g) {
        uint32_t four;
        memcpy(&four, p + 4 * g, sizeof four);
        set |= static_cast<uint32_t>(four != 0) << g;
    }
    return set;
}

// Wide: the type that y * mul + add fits. groups(p, n) is nonzero_groups or a faster one.
template <typename Wide, typename Out, typename Groups>
inline int32_t context_input_loop(const int32_t* __restrict y, const ContextTable& t, Out* __restrict out,
                                  uint64_t* nonzero, const Groups& groups) {
    const int32_t* const __restrict mul = t.mul, * const __restrict add = t.add, * const __restrict shift = t.shift;
    const Wide limit = t.limit;
    const int channels = t.channels;
    int32_t sum = 0;
    for (int c = 0; c < channels; ++c) {
        Wide v = (static_cast<Wide>(y[c]) * mul[c] + add[c]) >> shift[c];
        v = v > limit ? limit : v;
        v = v < -limit ? -limit : v;
        out[c] = static_cast<Out>(v);
        sum += static_cast<int32_t>(v);
    }
    const int count = (channels * static_cast<int>(sizeof(Out)) + 3) / 4;
    for (int word = 0; 64 * word < count; ++word) {
        uint64_t set = 0;
        for (int g = 64 * word; g < count && g < 64 * word + 64; g += 16) {
            const int n = count - g < 16 ? count - g : 16;
            set |= static_cast<uint64_t>(groups(reinterpret_cast<const uint8_t*>(out) + 4 * g, n)) << (g & 63);
        }
        nonzero[word] = set;
    }
    return sum;
}

}  // namespace
}  // namespace jahp
