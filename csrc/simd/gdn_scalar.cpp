// SPDX-License-Identifier: Apache-2.0
// The oracle of the other instruction sets.
#include "simd/gdn_loop.hpp"

namespace jahp {

void gdn_squares_scalar(const std::int16_t* x, std::ptrdiff_t count, std::int16_t* squares) {
    squares_loop(x, count, squares);
}
void gdn_divide_scalar(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                       const std::int32_t* shift) {
    divide_loop(x, positions, channels, norm, shift);
}
void gdn_multiply_scalar(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const std::int32_t* norm,
                         const std::int32_t* shift) {
    multiply_loop<false>(x, positions, channels, norm, shift, nullptr);
}
void gdn_multiply_keep_scalar(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels,
                              const std::int32_t* norm, const std::int32_t* shift, std::uint16_t* roots) {
    multiply_loop<true>(x, positions, channels, norm, shift, roots);
}
void gdn_local_scalar(std::int16_t* x, std::ptrdiff_t positions, std::ptrdiff_t channels, const LocalGain& gain,
                      const std::uint16_t* roots, std::uint32_t* squares) {
    local_loop(x, positions, channels, gain, roots, squares);
}

}  // namespace jahp
