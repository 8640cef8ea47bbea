// SPDX-License-Identifier: Apache-2.0
// The files of a picture that need no latents: pixels that are exact or within a bound, one colour, drawings.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "library/drawings.hpp"
#include "library/own_chunks.hpp"
#include "library/picture_encoder.hpp"

namespace jahp {

// The chunk of the checksum of a picture's samples, by which a decoder proves itself.
constexpr const char* kPixelChecksum = "pcrc";
Bytes checksum_of(std::span<const std::uint8_t> samples);

// Each file is decoded before it is given, and held to its bound: std::logic_error where a coder broke it. What this is
// given must outlive it.
class ExactFiles {
public:
    // chunks: of every file, with room for the checksum of the pixels if there is to be one.
    ExactFiles(const PictureView& picture, const OwnChunks& chunks, const EncoderOptions& options, const Poll& poll)
        : picture_(picture), chunks_(chunks), options_(options), poll_(poll) {}

    // That which keeps each sample to within `bound`.
    Bytes within(int bound) const;
    // That of a picture of one colour, which is kept exactly: nobody wants another. None of other pictures, and of deep
    // ones.
    std::optional<Bytes> of_one_colour() const;

    // Of a drawing of 8 bits; none of other pictures.
    Drawings drawings() const;
    Bytes of(const Drawn& drawn) const { return kept(drawn.layer, drawn.samples, 0); }
    std::size_t size_of(const Drawn& drawn) const;

private:
    Bytes kept(const Bytes& layer, const Samples& samples, int bound) const;
    Bytes deep(int bound) const;
    Bytes packed(const OwnChunks& chunks) const;
    PixelShape shape() const { return {picture_.height, picture_.width, channels_of(picture_.mode())}; }

    const PictureView& picture_;
    const OwnChunks& chunks_;
    const EncoderOptions& options_;
    const Poll& poll_;
};

}  // namespace jahp
