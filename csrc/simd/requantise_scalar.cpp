// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

template <typename Out>
void requantise(const std::int32_t* sums, const RequantTable& t, int n, Out* out) {
    for (int o = 0; o < n; ++o) {
        const std::int32_t sum = sums[o] + t.bias[o];
        const std::int64_t scaled = std::int64_t{sum} * (sum < 0 ? t.mul_neg[o] : t.mul_pos[o]);
        const std::int64_t rounded = ((scaled + (std::int64_t{1} << (t.shift[o] - 1))) >> t.shift[o]) + t.zero[o];
        out[o] = static_cast<Out>(std::clamp<std::int64_t>(rounded, -t.limit, t.limit));
    }
}

}  // namespace

void requantise_i16_scalar(const std::int32_t* sums, const RequantTable& t, int n, std::int16_t* out) { requantise(sums, t, n, out); }
void requantise_i32_scalar(const std::int32_t* sums, const RequantTable& t, int n, std::int32_t* out) { requantise(sums, t, n, out); }

}  // namespace jahp
