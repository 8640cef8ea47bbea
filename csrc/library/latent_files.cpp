// SPDX-License-Identifier: Apache-2.0
#include "library/latent_files.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"
#include "library/copy_map.hpp"
#include "library/symbol_bits.hpp"

namespace jahp {
namespace {

// Latents that are out of range are the picture's fault, not the caller's.
template <typename Call>
auto of_picture(const Call& call) {
    try {
        return call();
    } catch (const Error& e) {
        if (e.fault() != Fault::usage) throw;
        throw Error(Fault::image, std::string("the model's latents for this image cannot be coded: ") + e.what());
    }
}

}  // namespace

template <typename Sample>
std::vector<Sample> coarse_samples(const LatentFile& file, const Stream& stream, CodecModel& model, int threads,
                                   const Poll& poll) {
    std::vector<Sample> all;
    all.reserve(product(stream.height, stream.width, channels_of(stream.mode)));
    Synthesis synthesis = model.transforms().synthesis(stream.quality(), stream.height, stream.width,
                                                       whole_view(stream.height, stream.width, sizeof(Sample) > 1));
    const std::span<const std::int32_t> y(file.y);
    const int height = synthesis.part().height();
    const std::size_t each = y.size() / static_cast<std::size_t>(height);
    for (int row = 0; row < height; row += kLatentRows) {
        poll();
        const int count = std::min(kLatentRows, height - row);
        std::vector<Sample> rgb = synthesis.push<Sample>(y.subspan(product(row, 1) * each, product(count, 1) * each),
                                                         threads);
        if (stream.mode != Mode::rgb) rgb = grey_of<Sample>(rgb);
        all.insert(all.end(), rgb.begin(), rgb.end());
    }
    return all;
}
template Samples coarse_samples(const LatentFile&, const Stream&, CodecModel&, int, const Poll&);
template DeepSamples coarse_samples(const LatentFile&, const Stream&, CodecModel&, int, const Poll&);

LatentFile LatentFiles::nearest(int code) {
    const double quality = code / double{kQualitySteps};
    return packed(rounded(model_.transforms().analysis(picture_, quality, threads_, poll_)), code);
}

LatentFile LatentFiles::nearest_again(int code) { return packed(rounded(y_at(code)), code); }

LatentFile LatentFiles::trimmed_again(int code, double rate) {
    const std::vector<std::int32_t> y = y_at(code);
    Latents latents = rounded(y);
    latents.y = of_picture([&] { return trimmed(model_.entropy(), model_.bits(), latents, y, rate, threads_, poll_); });
    return packed(latents, code);
}

std::vector<std::int32_t> LatentFiles::y_at(int code) {
    if (sums_.empty()) sums_ = model_.transforms().analysis(picture_, std::nullopt, threads_, poll_);
    return model_.transforms().gained(sums_, code / double{kQualitySteps});
}

// y times 2^kLatentBits -> the nearest integers of z and y, halves up; y with the model's fractional bits.
Latents LatentFiles::rounded(std::vector<std::int32_t> y) {
    const ModelConfig& config = model_.config();
    Latents latents;
    latents.height = up(picture_.height, kStride);
    latents.width = up(picture_.width, kStride);
    const auto round = [](std::vector<std::int32_t>& values, int bits) {
        const int shift = kLatentBits - bits;
        for (std::int32_t& value : values)
            value = static_cast<std::int32_t>((std::int64_t{value} + (1 << shift >> 1)) >> shift);
    };
    if (config.hyper_latents > 0) {
        latents.hyper_height = up(latents.height, 4);
        latents.hyper_width = up(latents.width, 4);
        latents.z = model_.transforms().hyper_analysis(y, latents.height, latents.width, threads_, poll_);
        round(latents.z, 0);
    }
    round(y, config.frac_bits());
    latents.y = std::move(y);
    return latents;
}

LatentFiles::Coded LatentFiles::coded(const Latents& latents, int code, const std::vector<std::uint8_t>& maps) {
    const std::size_t least = least_payload(picture_.width, picture_.height);
    const double quality = code / double{kQualitySteps};
    StreamLayout layout{
        latents.height, latents.width, 0, model_.file().skip(quality), least, maps, model_.file().z_row(quality)};
    Latents seen = latents;
    Bytes payload = of_picture(
        [&] { return encode_latents(model_.entropy(), seen, layout, threads_, nullptr, poll_); });
    const std::uint32_t checksum = symbol_checksum(latents.z, seen.y);
    return {std::move(payload), layout.lanes, layout.skip, checksum, std::move(seen.y)};
}

// The file of an image's symbols, with positions copied where that pays.
LatentFile LatentFiles::packed(const Latents& latents, int code) {
    const ModelConfig& config = model_.config();
    std::optional<CopyChoice> choice = choose_copies(latents, config.latents, config.hyper_latents);
    Coded best = coded(latents, code, choice ? choice->maps : std::vector<std::uint8_t>());
    if (choice && !choice->sure) {
        Coded plain = coded(latents, code, {});
        if (best.payload.size() + choice->bytes() >= plain.payload.size()) {
            best = std::move(plain);
            choice.reset();
        }
    }
    OwnChunks chunks = chunks_;
    if (choice && !choice->packed.empty()) chunks.put_first("COPY", choice->packed);
    Bytes data = pack({picture_.width,
                       picture_.height,
                       picture_.mode(),
                       code,
                       model_.file().id(),
                       best.lanes,
                       best.skip,
                       best.checksum,
                       best.payload,
                       chunks.views(),
                       {}});
    return {code, std::move(data), std::move(best.y)};
}

}  // namespace jahp
