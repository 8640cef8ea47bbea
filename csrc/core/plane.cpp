// SPDX-License-Identifier: Apache-2.0
#include "core/plane.hpp"

#include <cstdint>
#include <string>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int
    kMostRows = 16;  // between a position and the furthest that it reads: half a kernel of 15, and one to be safe

}  // namespace

Plane::Plane(int height, int width, int channels, int border, const DotKernel& kernel, int first)
    : height_(height), width_(width), channels_(channels),
      pitch_((channels + kDotOutputs - 1) / kDotOutputs * kDotOutputs), border_(border), first_(first),
      element_(kernel.bytes ? 1 : 2) {
    const auto rows = static_cast<std::int64_t>(height) + 2 * border,
               columns = static_cast<std::int64_t>(width) + 2 * border;
    if (columns * pitch_ > INT32_MAX / kMostRows)
        throw Error(Fault::usage, "rows of " + std::to_string(width) + " latents with " + std::to_string(channels) +
                                      " channels are too long");
    const auto positions = static_cast<std::size_t>(rows * columns);
    data_.resize(positions * static_cast<std::size_t>(pitch_) * element_);
    if (kernel.biased) sums_.resize(positions);
}

void Plane::summarise(int row, int first, int step, int count, const DotKernel& kernel) {
    if (!kernel.biased) return;
    std::int32_t sums[64];
    for (int i = 0; i < count; i += 64) {
        const int n = count - i < 64 ? count - i : 64;
        kernel.row_sums(at<std::int8_t>(row, first + i * step), std::ptrdiff_t{step} * pitch_, n, pitch_, sums);
        for (int p = 0; p < n; ++p) sum(row, first + (i + p) * step) = sums[p];
    }
}

}  // namespace jahp
