// SPDX-License-Identifier: Apache-2.0
#include "library/exact_files.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/crc32c.hpp"
#include "library/deep_layer.hpp"
#include "library/little_endian.hpp"
#include "residual/drawing.hpp"

namespace jahp {
namespace {

// shift: of what came back.
template <typename T>
void hold_to(const std::vector<T>& samples, const std::vector<T>& back, int bound, int shift) {
    for (std::size_t i = 0; i < samples.size(); ++i)
        if (std::abs(samples[i] - (back[i] >> shift)) > bound)
            throw std::logic_error("the coder of exact pixels broke its bound of " + std::to_string(bound));
}

}  // namespace

Bytes checksum_of(std::span<const std::uint8_t> samples) {
    Bytes out;
    put_u32(out, crc32c(samples));
    return out;
}

Bytes ExactFiles::within(int bound) const {
    if (picture_.is_deep()) return deep(bound);
    const Samples samples = picture_.samples();
    return kept(pack_exact(samples, shape(), bound, options_.threads, poll_), samples, bound);
}

std::optional<Bytes> ExactFiles::of_one_colour() const {
    if (!options_.drawings || !picture_.has_one_colour()) return {};
    const Samples samples = picture_.samples();
    return kept(pack_colours(samples, shape(), 0, options_.threads, poll_), samples, 0);
}

Drawings ExactFiles::drawings() const {
    if (!options_.drawings || picture_.is_deep()) return {};
    Samples samples = picture_.samples();
    if (!is_drawing(samples, shape())) return {};
    return {std::move(samples), shape(), options_.threads, poll_};
}

std::size_t ExactFiles::size_of(const Drawn& drawn) const {
    OwnChunks chunks = chunks_;
    chunks.put("LAYR", drawn.layer);
    return packed(chunks).size();
}

Bytes ExactFiles::kept(const Bytes& layer, const Samples& samples, int bound) const {
    Samples back(samples.size());
    parse_layer(layer, picture_.height, "the layer over the pixels").decode(back, shape(), 0, options_.threads, poll_);
    hold_to<std::uint8_t>(samples, back, bound, 0);
    OwnChunks chunks = chunks_;
    chunks.put("LAYR", layer);
    if (options_.pixel_checksum) chunks.put(kPixelChecksum, checksum_of(back));
    return packed(chunks);
}

Bytes ExactFiles::deep(int bound) const {
    const DeepSamples samples = picture_.exact_samples();
    OwnChunks own = chunks_;
    for (auto& [type, data] : pack_deep(samples, shape(), picture_.depth, bound, options_.threads, poll_))
        own.put(type, std::move(data));
    const Chunks chunks = own.views();
    const auto data_of = [&](const std::string& type) {
        const auto found = std::find_if(chunks.begin(), chunks.end(), [&](const auto& c) { return c.first == type; });
        return found == chunks.end() ? nullptr : &found->second;
    };
    const BytesView* values = data_of("VALS");
    const Layer layer = parse_layer(*data_of("LAYR"), picture_.height, "the layer over the pixels",
                                    layer_bits(values, picture_.depth));
    DeepSamples back(samples.size());
    DeepLayer(layer, values, picture_.depth).decode(back, shape(), 0, options_.threads, poll_);
    hold_to(samples, back, bound, 16 - picture_.depth);
    if (options_.pixel_checksum) own.put(kPixelChecksum, checksum_of(bytes_of(back)));
    return packed(own);
}

// Without latents.
Bytes ExactFiles::packed(const OwnChunks& chunks) const {
    const Bytes payload(least_payload(picture_.width, picture_.height));
    return pack(
        {picture_.width, picture_.height, picture_.mode(), kQualitySteps, {}, 1, 0, 0, payload, chunks.views(), {}});
}

}  // namespace jahp
