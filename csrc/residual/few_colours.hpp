// SPDX-License-Identifier: Apache-2.0
// Pictures of few colours, exactly: docs/reference/format.md, "Few colours".
//
// Of each pixel it is coded which of six guesses it is: what followed on the same neighbours before (seven of them, or
// four), or one of the neighbours themselves. Only a pixel that is none of these is coded by its samples. Strips know
// nothing of each other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residual/exact_pixels.hpp"

namespace jahp {

// The data of a strip of shape.height rows.
std::vector<std::uint8_t> encode_colours(std::span<const std::uint8_t> pixels, PixelShape shape);

// Mirrors it; whether the data were read exactly to their end. Whatever the data, all pixels are set.
bool decode_colours(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels);

// The same with holes, where other pixels show through: a byte for each pixel, not 0 where there is one. What `pixels`
// have there is of no account, and stays as it is.
std::vector<std::uint8_t> encode_overlay(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> holes,
                                         PixelShape shape);
bool decode_overlay(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels);

// What encode_colours spends on each pixel of a strip, in 2^-8 bits.
void count_colours(std::span<const std::uint8_t> pixels, PixelShape shape, std::span<std::uint32_t> costs);

}  // namespace jahp
