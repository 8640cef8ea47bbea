// SPDX-License-Identifier: Apache-2.0
// Pictures that were drawn: text, screens, charts, maps. What an encoder asks about them before it keeps their pixels
// by few colours (few_colours.hpp), and does to them. Nothing here is of any account to a decoder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residual/exact_pixels.hpp"

namespace jahp {

// How many pixels, but for the first row and column, are as both the one above and the one to the left.
std::int64_t count_repeated(std::span<const std::uint8_t> pixels, PixelShape shape);

// Whether at least a quarter of them are, so that it is worth a try: of drawings nearly all, of photos hardly any. No
// picture of one row or column is one.
bool is_drawing(std::int64_t repeated, int height, int width);

// Whether all pixels are the same.
bool one_colour(std::span<const std::uint8_t> pixels, PixelShape shape);

// The picture with fewer colours, no sample of which differs by more than `bound`. The colours are gone through, those
// of the most pixels first and then by value: each that is within `bound` of one that was kept becomes the nearest such
// (of several the first), and is kept itself otherwise. Only pixels change that differ from one of their four
// neighbours by `contrast` at least, in some sample: where contrast is high, an error is not seen. 0: any. Pixels that
// are holes, where `holes` is not empty and has no 0, neither count nor change.
std::vector<std::uint8_t> merge_colours(std::span<const std::uint8_t> pixels, PixelShape shape, int bound, int contrast,
                                        std::span<const std::uint8_t> holes = {});

}  // namespace jahp
