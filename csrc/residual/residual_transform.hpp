// SPDX-License-Identifier: Apache-2.0
// What a picture is more than its coarse one, as quantised coefficients of blocks of 8 x 8: docs/reference/format.md,
// "Residual layer".
//
// The difference is turned into one light and two colour components and transformed (DCT-II). Each coefficient is coded
// as adaptive bits under contexts of its neighbours in the block, of the blocks to the left and above, of the
// components before, and of the coarse picture's own coefficients. Strips of rows know nothing of each other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residual/exact_pixels.hpp"

namespace jahp {

constexpr int kLeastStep = 16, kMostStep = 4096;  // of the quantiser, in sixteenths

// The data of a strip: of `pixels` over `coarse`, both of that shape. Samples have 8 bits, or 16 of deep pictures.
template <typename Sample>
std::vector<std::uint8_t> encode_residual(std::span<const Sample> pixels, std::span<const Sample> coarse,
                                          PixelShape shape, int step);

// Adds the coded difference to `pixels`, which come in as the coarse ones; whether the data were read exactly to their
// end. Whatever the data, all pixels are defined.
template <typename Sample>
bool decode_residual(std::span<const std::uint8_t> data, PixelShape shape, int step, std::span<Sample> pixels);

}  // namespace jahp
