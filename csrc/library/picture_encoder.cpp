// SPDX-License-Identifier: Apache-2.0
#include "library/picture_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "library/copy_map.hpp"
#include "library/deep_layer.hpp"
#include "library/drawings.hpp"
#include "library/encoder_checks.hpp"
#include "library/little_endian.hpp"
#include "library/own_chunks.hpp"
#include "library/picture_decoder.hpp"
#include "library/rate_control.hpp"
#include "residual/drawing.hpp"

namespace jahp {
namespace {

Bytes checksum_of(std::span<const std::uint8_t> samples) {
    Bytes out;
    put_u32(out, crc32c(samples));
    return out;
}

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

class Encoding {
public:
    Encoding(const PictureView& picture, CodecModel* model, const EncoderOptions& options, const Poll& poll)
        : picture_(picture), model_(model), options_(options), poll_(poll), threads_(options.threads) {
        for (const auto& [type, data] : options.chunks) chunks_.put(type, data);
        const int w = picture.width, h = picture.height;
        const auto pack_alpha = [&](const Samples& alpha) { return pack_exact(alpha, {h, w, 1}, 0, 1, poll); };
        if (picture.has_alpha()) {
            const Samples upper = picture.alpha(false), lower = picture.alpha(true);
            chunks_.put("ALPH", pack_alpha(upper));
            // Lower bits that only repeat the upper ones are left out.
            if (picture.is_deep() && lower != upper) chunks_.put("alpl", pack_alpha(lower));
        }
        if (picture.is_deep()) chunks_.put("deep", {static_cast<std::uint8_t>(picture.depth)});
        if (options.pixel_checksum) chunks_.put("pcrc", Bytes(4));
    }

    // The file that keeps each sample to within `bound`: it is decoded, and held to that.
    Bytes exact(int bound) {
        if (picture_.is_deep()) {
            put_deep(bound);
            return by_itself(chunks_);
        }
        const Samples samples = picture_.samples();
        return kept(pack_exact(samples, shape(), bound, threads_, poll_), samples, bound);
    }

    // The file of a picture of one colour, which is kept exactly: nobody wants another. None of other pictures, and of
    // deep ones.
    std::optional<Bytes> of_one_colour() {
        if (!options_.drawings || !picture_.has_one_colour()) return {};
        const Samples samples = picture_.samples();
        return kept(pack_colours(samples, shape(), 0, threads_, poll_), samples, 0);
    }

    // The nearest integers at a quality; with a step, and a residual layer over them.
    Bytes plain(double quality, std::optional<int> step) {
        const Latents latents = rounded(model_->transforms().analysis(picture_, quality, threads_, poll_));
        Bytes data = packed(latents, quality_code(quality));
        if (step) return layered(std::move(data), *step);
        const std::optional<Drawn> drawn = cheaper(data, quality_code(quality));
        return drawn ? file_of(*drawn) : proved(std::move(data));
    }

    // The file that comes nearest to a size.
    Bytes fitted(const SizeGoal& goal) {
        const std::vector<std::int32_t> sums = model_->transforms().analysis(picture_, std::nullopt, threads_, poll_);
        const auto encode = [&](int code) { return packed(rounded(y_at(sums, code)), code); };
        const auto trim = [&](int code, double rate) {
            const std::vector<std::int32_t> y = y_at(sums, code);
            Latents latents = rounded(y);
            latents.y = of_picture(
                [&] { return trimmed(model_->entropy(), model_->bits(), latents, y, rate, threads_, poll_); });
            return packed(latents, code);
        };
        std::function<Bytes(int, double)> trims;
        if (model_->config().form == Form::a) trims = trim;
        std::optional<Drawn> drawn;
        each_drawing([&](Drawn&& now) {
            const auto size = static_cast<double>(size_of(now));
            if (size <= goal.goal) drawn = std::move(now);
            return size > goal.goal && size <= kHope * goal.goal;
        });
        if (drawn && drawn->squares == 0) return file_of(*drawn);  // nothing is better
        const std::optional<Bytes> data = found([&] { return fit(encode, trims, codes(), goal); },
                                                [&] { return drawn.has_value(); });
        return data && (!drawn || drawn->squares > squares_of(*data)) ? proved(*data) : file_of(*drawn);
    }

    // The file whose PSNR comes nearest to one.
    Bytes fitted_psnr(double psnr) {
        const std::vector<std::int32_t> sums = model_->transforms().analysis(picture_, std::nullopt, threads_, poll_);
        const std::size_t samples = product(picture_.width, picture_.height, shape().channels);
        const auto psnr_at = [&](std::int64_t squares) {
            return psnr_of(static_cast<std::uint64_t>(squares), samples);
        };
        const auto encode = [&](int code) {
            Bytes file = packed(rounded(y_at(sums, code)), code);
            const double reached = psnr_at(squares_of(file));
            return std::pair(std::move(file), reached);
        };
        const auto drawn_within = [&](std::size_t most) {
            std::optional<Drawn> best;
            each_drawing([&](Drawn&& now) {
                const std::size_t size = size_of(now);
                if (psnr_at(now.squares) < psnr || size / kHope > most) return false;
                if (size <= most && (!best || size < size_of(*best))) best = std::move(now);
                return true;
            });
            return best;
        };
        std::optional<Drawn> drawn;
        const std::optional<Bytes> data = found([&] { return fit_psnr(encode, codes(), psnr); },
                                                [&] {
                                                    drawn = drawn_within(SIZE_MAX);
                                                    return drawn.has_value();
                                                });
        if (data) drawn = drawn_within(data->size());
        return drawn ? file_of(*drawn) : proved(*data);
    }

private:
    // The file whose layer says the samples to within `bound`: it is decoded, and held to that.
    Bytes kept(const Bytes& layer, const Samples& samples, int bound) {
        Samples back(samples.size());
        parse_layer(layer, picture_.height, "the layer over the pixels").decode(back, shape(), 0, threads_, poll_);
        hold_to<std::uint8_t>(samples, back, bound, 0);
        OwnChunks chunks = chunks_;
        chunks.put("LAYR", layer);
        if (options_.pixel_checksum) chunks.put("pcrc", checksum_of(back));
        return by_itself(chunks);
    }

    // A file without latents.
    Bytes by_itself(const OwnChunks& chunks) const {
        const Bytes payload(least_payload(picture_.width, picture_.height));
        return pack({picture_.width,
                     picture_.height,
                     picture_.mode(),
                     kQualitySteps,
                     {},
                     1,
                     0,
                     0,
                     payload,
                     chunks.views(),
                     {}});
    }

    // Of a drawing of 8 bits, ways to keep it by itself, as long as take() returns true; nothing of other pictures.
    void each_drawing(const std::function<bool(Drawn&&)>& take,
                      const std::function<bool(std::int64_t)>& worth = {}) const {
        if (!options_.drawings || picture_.is_deep()) return;
        const Samples samples = picture_.samples();
        if (is_drawing(samples, shape())) each_drawn(samples, shape(), threads_, poll_, take, worth);
    }
    Bytes file_of(const Drawn& drawn) { return kept(drawn.layer, drawn.samples, 0); }
    std::size_t size_of(const Drawn& drawn) const {
        OwnChunks chunks = chunks_;
        chunks.put("LAYR", drawn.layer);
        return by_itself(chunks).size();
    }

    // The sum of the squared errors of what a file decodes to; alpha does not count.
    std::int64_t squares_of(const Bytes& data) const {
        return errors_of(picture_.samples(), coarse_samples(unpack(data, UINT64_MAX), *model_, threads_, poll_))
            .squares;
    }

    // The file with a residual layer, or a drawing's by itself, where that takes no more.
    Bytes layered(Bytes data, int step) {
        std::optional<Drawn> exact;
        each_drawing([&](Drawn&& now) {
            exact = std::move(now);
            return false;
        });
        const std::size_t size = exact ? size_of(*exact) : SIZE_MAX;
        if (size > data.size())  // else its layer, which only adds to it, need not be made
            data = refined(std::move(data), step);
        return size > data.size() ? data : file_of(*exact);
    }

    // Of a drawing by itself what costs less than the file.
    std::optional<Drawn> cheaper(const Bytes& data, int code) const {
        std::optional<Drawn> best;
        std::optional<std::int64_t> last;
        std::int64_t least = 0;
        const int channels = shape().channels;
        const auto take = [&](Drawn&& drawn) {
            const std::int64_t now = loss(code, drawn.squares, size_of(drawn), channels);
            if (!last) {
                least = loss(code, 0, data.size(), channels);
                if (now > least)  // else it costs less, whatever the file loses
                    least = loss(code, squares_of(data), data.size(), channels);
            }
            if (now > kHope * least || (last && now >= *last)) return false;
            last = now;
            if (now <= least) {
                best = std::move(drawn);
                least = now;
            }
            return true;
        };
        each_drawing(take, [&](std::int64_t squares) { return loss(code, squares, 0, channels) < *last; });
        return best;
    }

    // The file that `find` finds; none where it refuses and there is `another`.
    static std::optional<Bytes> found(const std::function<Bytes()>& find, const std::function<bool()>& another) {
        try {
            return find();
        } catch (const Error& e) {
            if (e.fault() != Fault::usage || !another()) throw;
            return {};
        }
    }

    // Throws std::logic_error where a coder of exact pixels broke its bound. shift: of what came back.
    template <typename T>
    static void hold_to(const std::vector<T>& samples, const std::vector<T>& back, int bound, int shift) {
        for (std::size_t i = 0; i < samples.size(); ++i)
            if (std::abs(samples[i] - (back[i] >> shift)) > bound)
                throw std::logic_error("the coder of exact pixels broke its bound of " + std::to_string(bound));
    }

    void put_deep(int bound) {
        const DeepSamples samples = picture_.exact_samples();
        for (auto& [type, data] : pack_deep(samples, shape(), picture_.depth, bound, threads_, poll_))
            chunks_.put(type, std::move(data));
        const Chunks chunks = chunks_.views();
        const auto data_of = [&](const std::string& type) {
            const auto found = std::find_if(chunks.begin(), chunks.end(),
                                            [&](const auto& c) { return c.first == type; });
            return found == chunks.end() ? nullptr : &found->second;
        };
        const BytesView* values = data_of("VALS");
        const Layer layer = parse_layer(*data_of("LAYR"), picture_.height, "the layer over the pixels",
                                        layer_bits(values, picture_.depth));
        DeepSamples back(samples.size());
        DeepLayer(layer, values, picture_.depth).decode(back, shape(), 0, threads_, poll_);
        hold_to(samples, back, bound, 16 - picture_.depth);
        if (options_.pixel_checksum) chunks_.put("pcrc", checksum_of(bytes_of(back)));
    }

    CodeRange codes() const {
        const std::vector<double>& qualities = model_->config().qualities;
        return {quality_code(qualities.front()), quality_code(qualities.back()), quality_code(options_.quality)};
    }
    std::vector<std::int32_t> y_at(const std::vector<std::int32_t>& sums, int code) {
        return model_->transforms().gained(sums, code / double{kQualitySteps});
    }
    PixelShape shape() const { return {picture_.height, picture_.width, channels_of(picture_.mode())}; }

    // y times 2^kLatentBits -> the nearest integers of z and y, halves up; y with the model's fractional bits.
    Latents rounded(std::vector<std::int32_t> y) {
        const ModelConfig& config = model_->config();
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
            latents.z = model_->transforms().hyper_analysis(y, latents.height, latents.width, threads_, poll_);
            round(latents.z, 0);
        }
        round(y, config.frac_bits());
        latents.y = std::move(y);
        return latents;
    }

    struct Coded {
        Bytes payload;
        int lanes = 0, skip = 0;
        std::uint32_t checksum = 0;
    };
    Coded coded(const Latents& latents, int code, const std::vector<std::uint8_t>& maps) {
        const std::size_t least = least_payload(picture_.width, picture_.height);
        const double quality = code / double{kQualitySteps};
        StreamLayout layout{
            latents.height, latents.width, 0, model_->file().skip(quality), least, maps, model_->file().z_row(quality)};
        Latents seen = latents;
        Coded out;
        out.payload = of_picture(
            [&] { return encode_latents(model_->entropy(), seen, layout, threads_, nullptr, poll_); });
        out.lanes = layout.lanes;
        out.skip = layout.skip;
        out.checksum = symbol_checksum(latents.z, seen.y);
        return out;
    }

    // The file of an image's symbols, with positions copied where that pays.
    Bytes packed(const Latents& latents, int code) {
        const ModelConfig& config = model_->config();
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
        return pack({picture_.width,
                     picture_.height,
                     picture_.mode(),
                     code,
                     model_->file().id(),
                     best.lanes,
                     best.skip,
                     best.checksum,
                     best.payload,
                     chunks.views(),
                     {}});
    }

    // The file anew, with a chunk put in or replaced.
    static Bytes with(Stream stream, const std::string& type, const Bytes& data) {
        const auto found = std::find_if(stream.chunks.begin(), stream.chunks.end(),
                                        [&](const auto& c) { return c.first == type; });
        if (found == stream.chunks.end())
            stream.chunks.emplace_back(type, data);
        else
            found->second = data;
        return pack(stream);
    }

    // The file with the checksum of its pixels, if it is to have one.
    Bytes proved(Bytes data) {
        if (!options_.pixel_checksum) return data;
        const Stream stream = unpack(data, UINT64_MAX);
        return with(stream, "pcrc", checksum_of(coarse_samples(stream, *model_, threads_, poll_)));
    }

    // The file with a residual layer over its pixels, and the checksum of what they become.
    Bytes refined(Bytes data, int step) {
        const Stream stream = unpack(data, UINT64_MAX);
        Samples coarse = coarse_samples(stream, *model_, threads_, poll_);
        const Bytes layer = pack_residual(picture_.samples(), coarse, shape(), step, threads_, poll_);
        Bytes out = with(stream, "LAYR", layer);
        if (!options_.pixel_checksum) return out;
        parse_layer(layer, picture_.height, "the layer over the pixels").decode(coarse, shape(), 0, threads_, poll_);
        return with(unpack(out, UINT64_MAX), "pcrc", checksum_of(coarse));
    }

    const PictureView& picture_;
    CodecModel* const model_;
    const EncoderOptions& options_;
    const Poll& poll_;
    const int threads_;
    OwnChunks chunks_;
};

SizeGoal goal_of(const EncoderOptions& options, const PictureView& picture) {
    const double most = options.max_bytes ? static_cast<double>(*options.max_bytes)
                                          : std::numeric_limits<double>::infinity();
    const double pixels = static_cast<double>(picture.width) * picture.height;
    return {options.target_bpp ? std::min(most, *options.target_bpp * pixels / 8) : most, most};
}

}  // namespace

Bytes encode_picture(PictureView picture, const std::shared_ptr<CodecModel>& model, const EncoderOptions& options,
                     const Poll& poll) {
    if (model == nullptr && !options.max_error)
        throw Error(Fault::usage, "a model is needed to encode: hand it over with jahp_encoder_set_model");
    EncoderOptions checked = options;
    if (model != nullptr) checked.quality = checked_quality(*model, options.quality);
    const bool layered = checked.quality > 8;
    if ((options.max_error || layered) && (options.max_bytes || options.target_bpp || options.target_psnr))
        throw Error(Fault::usage,
                    "effort, max_bytes, target_bpp and target_psnr are for qualities up to 8: leave them out with " +
                        (options.max_error ? "a bound on errors" : "quality " + short_number(checked.quality)));
    check_size(picture, options.max_pixels);
    if (picture.is_deep()) picture.widen();
    if (options.max_error && *options.max_error > most_error(picture.depth))
        throw Error(Fault::usage, "max_error must be 0 to " + std::to_string(most_error(picture.depth)) +
                                      " with samples of " + std::to_string(picture.depth) + " bits, not " +
                                      std::to_string(*options.max_error));
    if (picture.is_deep() && layered && !options.max_error)
        throw Error(Fault::usage, "pixels of uint16 are for qualities up to 8 and for lossless, and quality " +
                                      short_number(checked.quality) + " for 8 bits: convert them to uint8 first");
    if (options.target_psnr && (options.max_bytes || options.target_bpp))
        throw Error(Fault::usage, "target_psnr goes with neither max_bytes nor target_bpp: a file has one quality");
    poll();
    Encoding encoding(picture, model.get(), checked, poll);
    if (options.max_error) return encoding.exact(*options.max_error);
    const bool sized = options.max_bytes || options.target_bpp;
    const std::optional<Bytes> flat = encoding.of_one_colour();
    if (flat && !(sized && static_cast<double>(flat->size()) > goal_of(options, picture).goal)) return *flat;
    if (options.target_psnr) return encoding.fitted_psnr(*options.target_psnr);
    if (sized) return encoding.fitted(goal_of(options, picture));
    return layered ? encoding.plain(kLayerBase, layer_step(checked.quality))
                   : encoding.plain(checked.quality, std::nullopt);
}

}  // namespace jahp
