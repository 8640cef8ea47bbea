// SPDX-License-Identifier: Apache-2.0
// The files of a picture's latents: what nets and range coder make of it, at any quality.
#pragma once

#include <memory>
#include <vector>

#include "library/codec_model.hpp"
#include "library/container.hpp"
#include "library/own_chunks.hpp"
#include "library/picture.hpp"

namespace jahp {

// A file whose pixels may still be looked at: from its latents, for which it need not be decoded.
struct LatentFile {
    int code = 0;  // of its quality
    Bytes data;
    std::vector<std::int32_t> y;  // (h, w, M), what its decoder gets
};

// All of the samples of such a file, parsed as `stream`, below any layer; of 8 bits, or of 16.
template <typename Sample>
std::vector<Sample> coarse_samples(const LatentFile& file, const Stream& stream, CodecModel& model, int threads,
                                   const Poll& poll);

// All of it throws Error(image) for latents that cannot be coded. What it is given must outlive it.
class LatentFiles {
public:
    // chunks: of every file.
    LatentFiles(const PictureView& picture, const OwnChunks& chunks, CodecModel& model, int threads, const Poll& poll)
        : picture_(picture), chunks_(chunks), model_(model), threads_(threads), poll_(poll) {}

    // That of the nearest integers; code: of the quality.
    LatentFile nearest(int code);
    // The same of a picture that is analysed once for several calls.
    LatentFile nearest_again(int code);
    // With symbols nearer to their means, likewise: of a model of form A alone. rate: factor of the bits in what is
    // minimised.
    LatentFile trimmed_again(int code, double rate);

private:
    struct Coded {
        Bytes payload;
        int lanes, skip;
        std::uint32_t checksum;
        std::vector<std::int32_t> y;
    };
    std::vector<std::int32_t> y_at(int code);
    Latents rounded(std::vector<std::int32_t> y);
    Coded coded(const Latents& latents, int code, const std::vector<std::uint8_t>& maps);
    LatentFile packed(const Latents& latents, int code);

    const PictureView& picture_;
    const OwnChunks& chunks_;
    CodecModel& model_;
    const int threads_;
    const Poll& poll_;
    std::vector<std::int32_t> sums_;  // of y at any quality, once they are there
};

}  // namespace jahp
