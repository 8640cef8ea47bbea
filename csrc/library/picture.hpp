// SPDX-License-Identifier: Apache-2.0
// Pixels as callers hand them in, and as layers and checksums take them: samples, 1 (grey) or 3 (RGB) a pixel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "residual/exact_pixels.hpp"

namespace jahp {

using Samples = std::vector<std::uint8_t>;
using DeepSamples = std::vector<std::uint16_t>;  // in which 65535 is white

enum class Mode : std::uint8_t { rgb = 0, grey = 1 };

inline int channels_of(Mode mode) { return mode == Mode::rgb ? 3 : 1; }

inline std::size_t product(std::int64_t a, std::int64_t b, std::int64_t c = 1) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

// A picture in a caller's memory, of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels.
struct PictureView {
    const std::uint8_t* pixels;
    std::size_t stride;
    int width, height, channels;
    int depth;         // bits of a sample: 8, or 9 to 16 of deep ones, two bytes each
    DeepSamples deep;  // those of deep ones, of 16 bits and without gaps

    // Fills in `deep`. Error(image) for a sample of more than its bits.
    void widen();

    Mode mode() const { return channels < 3 ? Mode::grey : Mode::rgb; }
    bool has_alpha() const { return channels == 2 || channels == 4; }
    bool is_deep() const { return depth > 8; }
    bool has_one_colour() const;  // but for alpha; not of deep ones
    const std::uint8_t* row(int y) const { return pixels + static_cast<std::size_t>(y) * stride; }

    Samples samples() const;  // of mode(), rows without gaps; the nearest of 8 bits
    DeepSamples deep_samples() const;   // the same of deep ones, of 16 bits
    DeepSamples exact_samples() const;  // and of `depth` bits, as they came
    // One a pixel; the upper 8 bits, or the lower ones, which only deep samples have.
    Samples alpha(bool lower) const;
    // Rows [first, first + count) as activations of RGB for g_a, `width` pixels each: what is outside of the picture is
    // its last row and column. Deep ones in quarters of a level.
    void activations(int first, int count, int wide, std::vector<std::int16_t>& out) const;
};

// The 16 bits that mean the same, of samples of 8 bits and, in place, of those of `depth`; and the nearest of 8 bits.
DeepSamples widened(std::span<const std::uint8_t> samples);
void widen(std::span<std::uint16_t> samples, int depth);
Samples narrowed(std::span<const std::uint16_t> samples);

// As checksums take them: two bytes each, the lower first.
Samples bytes_of(std::span<const std::uint16_t> samples);

// Grey of RGB pixels of either type: the mean, rounded.
template <typename T>
std::vector<T> grey_of(std::span<const T> rgb);

// Samples of `mode` and alpha, empty if there is none, as pixels of `channels` (1, 3 or 4) in the bytes at `out`, which
// need not be aligned: grey is repeated for 3 and 4, and opaque is what has no alpha.
template <typename T>
void join(std::span<const T> samples, Mode mode, std::span<const T> alpha, int channels, std::uint8_t* out);

}  // namespace jahp
