// SPDX-License-Identifier: Apache-2.0
// Loops that the compiler vectorises for the instructions of each file that includes this; for context_input_*.cpp alone.
#pragma once

#include <stdint.h>
#include <string.h>

#include "simd/context_input.hpp"

namespace jahp {
namespace {

// Wide: the type that y * mul + add fits.
template <typename Wide, typename Out>
inline int32_t context_input_loop(const int32_t* y, const ContextTable& t, Out* out, uint64_t* nonzero) {
    int32_t sum = 0;
    for (int c = 0; c < t.channels; ++c) {
        Wide v = (static_cast<Wide>(y[c]) * t.mul[c] + t.add[c]) >> t.shift[c];
        v = v > t.limit ? t.limit : v;
        v = v < -t.limit ? -t.limit : v;
        out[c] = static_cast<Out>(v);
        sum += static_cast<int32_t>(v);
    }
    const int groups = (t.channels * static_cast<int>(sizeof(Out)) + 3) / 4;
    for (int word = 0; 64 * word < groups; ++word) {
        const int n = groups - 64 * word < 64 ? groups - 64 * word : 64;
        uint64_t set = 0;
        for (int g = 0; g < n; ++g) {
            uint32_t four;
            memcpy(&four, reinterpret_cast<const uint8_t*>(out) + 4 * (64 * word + g), sizeof four);
            set |= static_cast<uint64_t>(four != 0) << g;
        }
        nonzero[word] = set;
    }
    return sum;
}

}  // namespace
}  // namespace jahp
