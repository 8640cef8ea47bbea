// SPDX-License-Identifier: Apache-2.0
// The container: header, payload, chunks, checksums (docs/reference/format.md, "Container"), as
// jahp_fast.files.container has it, in its order and with its words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "library/layer_chunk.hpp"
#include "library/model_file.hpp"

namespace jahp {

constexpr std::size_t kHeaderBytes = 44;
constexpr int kMostSide = 1 << 24;
constexpr double kLayerBase = 4, kMostQuality = 12;  // above quality 8 a picture of quality 4 is coded, and a layer
constexpr int kSmoothPixels = 64;  // with less than a byte for so many pixels it gets a finer one below its layer

using Bytes = std::vector<std::uint8_t>;
using BytesView = std::span<const std::uint8_t>;
// Type -> data, in the order of the file.
using Chunks = std::vector<std::pair<std::string, BytesView>>;

// A file that was parsed: views of its bytes.
struct Stream {
    int width, height;
    Mode mode;
    int quality_code;  // 20 times the quality
    ModelId model;
    int lanes, skip;
    std::uint32_t checksum;
    BytesView payload;
    Chunks chunks;
    std::optional<Layer> layer;

    double quality() const { return quality_code / double{kQualitySteps}; }
    const BytesView* chunk(const std::string& type) const;  // null if there is none
    bool exact() const { return layer && layer->exact(); }
    int depth() const;  // bits of a sample that the file was made of, 8 to 16
    // That the encoder was asked for: with a layer another one than the payload's; 0 of exact pixels.
    double asked_quality() const;
    PixelShape shape() const { return {height, width, channels_of(mode)}; }
};

// The least payload of an image of that size; encoders pad with zeros up to it.
std::size_t least_payload(int width, int height);

// Parses and checks a file. Nothing larger than it is allocated. Error(format) with what is wrong.
Stream unpack(BytesView data, std::uint64_t max_pixels);

// The file of a stream; `layer` is not looked at: its chunk is among the others.
Bytes pack(const Stream& stream);

// Of a quality above 8: the step, in sixteenths, of the quantiser, and the quality below the layer of a smooth picture.
int layer_step(double quality);
double smooth_base(double quality);

}  // namespace jahp
