// SPDX-License-Identifier: Apache-2.0
// Pictures that were drawn in part: screens and pages with photos, products on white. What an encoder asks about them
// before it lays their drawn part over the pixels of the latents (few_colours.hpp), and hands on to the nets in its
// place. Nothing here is of any account to a decoder.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residual/strips.hpp"

namespace jahp {

constexpr int kSquare = 16;  // of pixels: what one position of the latents stands for

// Whether at least an eighth of the pixels is repeated (count_repeated of drawing.hpp), so that a part may be drawn.
bool maybe_drawn(std::int64_t repeated, int height, int width);

// Whether a sixteenth of the squares is flat, three quarters of each repeated pixels.
bool partly_flat(std::span<const std::uint8_t> pixels, PixelShape shape);

// What few colours take for each pixel in such strips, in 2^-8 bits; on so many threads.
std::vector<std::uint32_t> colour_costs(std::span<const std::uint8_t> pixels, const Strips& strips, int threads);

// What is compared: bits, and squared errors times a price, in 2^-16 bits times the channels.
struct Trade {
    std::int64_t price;  // of a squared error
    std::int64_t bytes;  // of the file of the latents
};

// Where the nets' pixels, `coarse`, serve better than few colours: a byte for each pixel, 1 for such a hole. Of each
// square it is asked whether its pixels cost more by few colours (`costs`) than by the nets, whose bits are shared out
// by how much neighbours differ in `coarse`. Pixels that are linked to drawn ones by pixels of the same colour are
// drawn too. Empty where it is not worth it: there is no hole, or little to gain by them, or nothing else.
std::vector<std::uint8_t> choose_holes(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> coarse,
                                       std::span<const std::uint32_t> costs, PixelShape shape, const Trade& trade);

// What the holes cost by the file of the latents, as far as one sees before there is another: their squared errors in
// `coarse`, and their share of its bits, as above. In Trade's unit.
std::int64_t cost_of_holes(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> coarse,
                           std::span<const std::uint8_t> holes, PixelShape shape, const Trade& trade);

// What stands on a plain ground: 1 for each pixel, and 0 in the squares that are of one colour; linked: and where
// pixels are linked to these by pixels of the same colour. Empty where there is no such ground, or nothing else.
std::vector<std::uint8_t> beside_plain(std::span<const std::uint8_t> pixels, PixelShape shape, bool linked);

// The picture with all that is no hole as a smooth continuation of the holes: means of squares of two, four, eight ...
// pixels, and straight lines between these.
std::vector<std::uint8_t> fill_drawn(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> holes,
                                     PixelShape shape);

}  // namespace jahp
