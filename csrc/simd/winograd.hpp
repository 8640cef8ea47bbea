// SPDX-License-Identifier: Apache-2.0
// The two ends of a convolution in Winograd's form (Winograd 1980; Lavin and Gray, "Fast algorithms for convolutional
// neural networks", 2016), as Toom and Cook evaluate and interpolate polynomials.
//
// Along an axis a 5-tap filter of stride 2, or its transpose, falls apart into a filter of 3 taps and one of 2. Four
// outputs
//     y[i] = sum over k of g[k] d[i + k]
// of one are A^T ((G g) * (B^T d)), with products at 6 points (3 taps) or 5 (2 taps): 0, 1, -1, 2, -2 (3 taps only),
// infinity. For the point a, N(a) the product of a - b over the other finite points b:
//     (G g)(a) = sum of g[k] a^k / N(a);  at infinity the last tap
//     (B^T d)(a) = sum of d[k] times the coefficients of the product of (x - b) over the other finite points b; at
//     infinity: all of them y[i] = sum of a^i m(a), and m(infinity) for i = 3
// In two dimensions both axes are treated so: 16 outputs take 36, 30 or 25 products instead of 144, 96 or 64. A^T has
// the same column for a point whichever filter it serves: products of filters whose outputs add up may be added before
// A^T.
#pragma once

#include <cstddef>

#include "simd/isa.hpp"

namespace jahp {

constexpr int kWinogradTile = 4;    // outputs along an axis
constexpr int kWinogradPoints = 6;  // the most along an axis

constexpr int winograd_points(int taps) { return taps + kWinogradTile - 1; }

// out[(i * points_h + j) * point_stride + c] = B^T d B of d[i][j] = rows[i][j * column_step + c], for c < channels.
// channels is a multiple of 16, points_v and points_h are 5 or 6.
struct WinogradInput {
    const float* const* rows;
    std::ptrdiff_t column_step;
    int points_v, points_h, channels;
    float* out;
    std::ptrdiff_t point_stride;
};

// y = bias[c] + A^T m A of m[i][j] = in[(i * points_h + j) * point_stride + c]; rows[i][j * column_step + c] = y > 0 ?
// y : slope * y, for i < rows_valid <= 4, j < columns_valid <= 4, c < channels, a multiple of 16.
struct WinogradOutput {
    const float* in;
    std::ptrdiff_t point_stride;
    int points_v, points_h, channels;
    const float* bias;
    float slope;
    float* const* rows;
    std::ptrdiff_t column_step;
    int rows_valid, columns_valid;
};

struct Winograd {
    void (*input)(const WinogradInput&);
    void (*output)(const WinogradOutput&);
};

Winograd winograd_for(Isa isa);

void winograd_input_scalar(const WinogradInput& w);
void winograd_output_scalar(const WinogradOutput& w);
#if defined(__x86_64__)
void winograd_input_avx2(const WinogradInput& w);
void winograd_output_avx2(const WinogradOutput& w);
void winograd_input_avx512vnni(const WinogradInput& w);
void winograd_output_avx512vnni(const WinogradOutput& w);
#elif defined(__aarch64__)
void winograd_input_neon(const WinogradInput& w);
void winograd_output_neon(const WinogradOutput& w);
#endif

}  // namespace jahp
