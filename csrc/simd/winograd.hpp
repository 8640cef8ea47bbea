// SPDX-License-Identifier: Apache-2.0
// The two ends of a convolution in Winograd's form (Winograd 1980; Lavin and Gray, "Fast algorithms for convolutional
// neural networks", 2016), in exact integers.
//
// Along an axis a 5-tap filter of stride 2, or its transpose, falls apart into a filter of 3 taps g and one of 2, h.
// Two outputs of each
//     y[i] = g[0] d[i] + g[1] d[i + 1] + g[2] d[i + 2],   z[i] = h[0] e[i] + h[1] e[i + 1]
// are sums of products at seven points, of what the inputs and the weights give there:
//     0: d0 - d2, 2 g0      1: d1 + d2, g0 + g1 + g2      2: d2 - d1, g0 - g1 + g2      3: d1 - d3, 2 g2
//     4: e0 - e1, h0        5: e1, h0 + h1                6: e1 - e2, h1
//     2 y0 = m0 + m1 + m2,  2 y1 = m1 - m2 - m3,          z0 = m4 + m5,  z1 = m5 - m6
// Points 4, 5, 6 count for the outputs as 0, 1, 3 do: where y and z add up, products at 4, 5, 6 with weights times two
// may be added to those. In two dimensions both axes are treated so: 49 products for 2x2 outputs of a convolution, or
// 4x4 of a transposed one, instead of 100, and outputs that come out times 1, 2 or 4, modulo 2^32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/finish.hpp"
#include "simd/isa.hpp"

namespace jahp {

constexpr int kWinogradTile = 2;    // outputs of a filter along an axis
constexpr int kWinogradPoints = 7;  // along an axis

// out[(7 i + j) * point_stride + c] = the input's value at point i of the rows, j of the columns, of d[r][s] =
// rows[r][s * column_step + c], for c < channels, a multiple of 16. samples, along both axes: 4, where d is they and e
// the last three; or 7, where d is the even ones, e the odd ones. Inputs are within ±8191: what comes out fits.
struct WinogradInput {
    const std::int16_t* const* rows;
    std::ptrdiff_t column_step;
    int samples, channels;
    std::int16_t* out;
    std::ptrdiff_t point_stride;
};

// y of m[i][j] = in[(i * points_h + j) * point_stride + c], points 0 to 3 (points_v or points_h is 4) or 4 to 6 (3),
// as 4 times the sum finished by `table` (simd/finish.hpp), goes to rows[i][j * column_step + c], for i < rows_valid <=
// 2, j < columns_valid <= 2, c < channels, a multiple of 16.
template <typename Out>
struct WinogradOutput {
    const std::int32_t* in;
    std::ptrdiff_t point_stride;
    int points_v, points_h, channels;
    const FinishTable* table;
    Out* const* rows;
    std::ptrdiff_t column_step;
    int rows_valid, columns_valid;
};

struct Winograd {
    void (*input)(const WinogradInput&);
    void (*output_i16)(const WinogradOutput<std::int16_t>&);
    void (*output_i32)(const WinogradOutput<std::int32_t>&);
};

Winograd winograd_for(Isa isa);

#define JAHP_WINOGRAD(isa)                                               \
    void winograd_input_##isa(const WinogradInput&);                     \
    void winograd_output_i16_##isa(const WinogradOutput<std::int16_t>&); \
    void winograd_output_i32_##isa(const WinogradOutput<std::int32_t>&)
JAHP_WINOGRAD(scalar);
#if defined(__x86_64__)
JAHP_WINOGRAD(avx2);
JAHP_WINOGRAD(avx512vnni);
#elif defined(__aarch64__)
JAHP_WINOGRAD(neon);
#elif defined(__wasm__)
JAHP_WINOGRAD(wasm);
#endif
#undef JAHP_WINOGRAD

}  // namespace jahp
