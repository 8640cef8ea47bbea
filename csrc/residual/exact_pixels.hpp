// SPDX-License-Identifier: Apache-2.0
// Pixels kept to within an error of K, or exactly (K = 0): docs/reference/format.md, "Exact pixels".
//
// Each sample is predicted from those before it in its strip, by a filter that learns as it goes (normalised least mean
// squares); of each row green comes first, then red and blue as differences from green. The error is coded as adaptive
// bits. Strips know nothing of each other, so that threads may share them. Samples have 8 bits, or 9 to 16 in two
// bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace jahp {

// K of samples of so many bits: 31 with 8, and 255 from 11 on.
constexpr int most_error(int bits) { return bits > 10 ? 255 : (1 << (bits - 3)) - 1; }

// Rows of samples, channels last: 1 (grey) or 3 (RGB).
struct PixelShape {
    int height, width, channels;
};

// The data of a strip of shape.height rows. K = max_error, 0 .. most_error(bits); deep samples are below 2^bits.
std::vector<std::uint8_t> encode_exact(std::span<const std::uint8_t> pixels, PixelShape shape, int max_error);
std::vector<std::uint8_t> encode_exact(std::span<const std::uint16_t> pixels, PixelShape shape, int bits,
                                       int max_error);

// Mirrors it; whether the data were read exactly to their end. Whatever the data, all pixels are set.
bool decode_exact(std::span<const std::uint8_t> data, PixelShape shape, int max_error, std::span<std::uint8_t> pixels);
bool decode_exact(std::span<const std::uint8_t> data, PixelShape shape, int bits, int max_error,
                  std::span<std::uint16_t> pixels);

}  // namespace jahp
