// SPDX-License-Identifier: Apache-2.0
// The chunk of a layer over the pixels (docs/reference/format.md, "Layers"): exact pixels, what coarse ones lack, or
// a part of them; as jahp_fast.files.layers has it, with its words.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/context_decoder.hpp"
#include "library/picture.hpp"

namespace jahp {

enum class LayerKind { exact, residual, colours, overlay };

// As it lies in a file: its strips are views of the chunk's data.
struct Layer {
    LayerKind kind;
    int bound;  // the largest error of exact pixels; few colours are decoded alike whatever it is
    int step;  // of the quantiser of a residual layer, in sixteenths
    int rows;  // of a strip
    int bits;  // of a sample: 8; or of a deep file's exact ones up to 16, and of its residual 16
    std::vector<std::span<const std::uint8_t>> strips;

    // Whether it holds the pixels by itself, and is not laid over those of the latents.
    bool exact() const { return kind == LayerKind::exact || kind == LayerKind::colours; }

    // Writes exact pixels, or adds to coarse ones or replaces some, in place: rows of `shape`, whole strips of them,
    // the first of which is number `first`. Error(format) where a strip's data do not end where they should.
    void decode(std::span<std::uint8_t> samples, PixelShape shape, int first, int threads, const Poll& poll) const;
    // The same of more than 8 bits.
    void decode(std::span<std::uint16_t> samples, PixelShape shape, int first, int threads, const Poll& poll) const;
};

struct Errors {
    int largest = 0;
    std::int64_t squares = 0;  // their sum
};
Errors errors_of(std::span<const std::uint8_t> samples, std::span<const std::uint8_t> others);

// Error(format) for a field out of range, and lengths that do not add up; `what` they are of, and of how many bits its
// samples are.
Layer parse_layer(std::span<const std::uint8_t> data, int height, const std::string& what, int bits = 8);

// The chunk's data of the layer that keeps each sample to within `bound`; by few colours, as they are or merged, where
// that is smaller.
std::vector<std::uint8_t> pack_exact(std::span<const std::uint8_t> samples, PixelShape shape, int bound, int threads,
                                     const Poll& poll);

// That of the layer that keeps these samples by few colours; bound: the most that one differs from the picture's.
std::vector<std::uint8_t> pack_colours(std::span<const std::uint8_t> samples, PixelShape shape, int bound, int threads,
                                       const Poll& poll);

// That of the layer that keeps these samples by few colours but for holes, which are as in few_colours.hpp.
std::vector<std::uint8_t> pack_overlay(std::span<const std::uint8_t> samples, std::span<const std::uint8_t> holes,
                                       PixelShape shape, int threads, const Poll& poll);

// What few colours take for each pixel in a layer's strips, in 2^-8 bits.
std::vector<std::uint32_t> colour_costs(std::span<const std::uint8_t> samples, PixelShape shape, int threads,
                                        const Poll& poll);

// That of samples below 2^bits, 9 to 16, to within `bound`.
std::vector<std::uint8_t> pack_exact(std::span<const std::uint16_t> samples, PixelShape shape, int bits, int bound,
                                     int threads, const Poll& poll);

// That of the layer that makes of `coarse` nearly `samples`, of 8 or 16 bits; step in sixteenths.
template <typename Sample>
std::vector<std::uint8_t> pack_residual(std::span<const Sample> samples, std::span<const Sample> coarse,
                                        PixelShape shape, int step, int threads, const Poll& poll);

}  // namespace jahp
