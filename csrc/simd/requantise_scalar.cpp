// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "simd/requantise.hpp"

namespace jahp {
namespace {

template <typename Out>
void requantise(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, const RequantTable& t, int first,
                int blocks, Out* out, std::ptrdiff_t out_stride) {
    for (int p = 0; p < positions; ++p)
        for (int i = 0; i < 16 * blocks; ++i) {
            const int o = first + i;
            const std::int32_t sum = sums[p * sums_stride + i] + t.bias[o];
            const std::int64_t scaled = std::int64_t{sum} * (sum < 0 ? t.mul_neg[o] : t.mul_pos[o]);
            const std::int64_t rounded = ((scaled + (std::int64_t{1} << (t.shift[o] - 1))) >> t.shift[o]) + t.zero[o];
            out[p * out_stride + i] = static_cast<Out>(std::clamp<std::int64_t>(rounded, -t.limit, t.limit));
        }
}

}  // namespace

void requantise_i8_scalar(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, const RequantTable& t,
                          int first, int blocks, std::int8_t* out, std::ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i16_scalar(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, const RequantTable& t,
                           int first, int blocks, std::int16_t* out, std::ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}
void requantise_i32_scalar(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, const RequantTable& t,
                           int first, int blocks, std::int32_t* out, std::ptrdiff_t out_stride) {
    requantise(sums, sums_stride, positions, t, first, blocks, out, out_stride);
}

}  // namespace jahp
