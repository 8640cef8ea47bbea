// SPDX-License-Identifier: Apache-2.0
#include "library/picture_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "library/deep_layer.hpp"
#include "library/drawings.hpp"
#include "library/encoder_checks.hpp"
#include "library/latent_files.hpp"
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

// A picture as its nets get it, and all else that belongs to its file.
struct Subject {
    PictureView picture;
    Samples filled;  // what `picture` shows, with an overlay among the chunks
    OwnChunks chunks;
};

class Encoding {
public:
    Encoding(const PictureView& picture, CodecModel* model, const EncoderOptions& options, const Poll& poll)
        : picture_(picture), model_(model), options_(options), poll_(poll), threads_(options.threads),
          subject_{picture, {}, {}} {
        for (const auto& [type, data] : options.chunks) subject_.chunks.put(type, data);
        const int w = picture.width, h = picture.height;
        const auto pack_alpha = [&](const Samples& alpha) { return pack_exact(alpha, {h, w, 1}, 0, 1, poll); };
        if (picture.has_alpha()) {
            const Samples upper = picture.alpha(false), lower = picture.alpha(true);
            subject_.chunks.put("ALPH", pack_alpha(upper));
            // Lower bits that only repeat the upper ones are left out.
            if (picture.is_deep() && lower != upper) subject_.chunks.put("alpl", pack_alpha(lower));
        }
        if (picture.is_deep()) subject_.chunks.put("deep", {static_cast<std::uint8_t>(picture.depth)});
        if (options.pixel_checksum) subject_.chunks.put("pcrc", Bytes(4));
    }

    // The file that keeps each sample to within `bound`: it is decoded, and held to that.
    Bytes exact(int bound) {
        if (picture_.is_deep()) {
            put_deep(bound);
            return by_itself(subject_.chunks);
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
        const int code = quality_code(quality);
        Bytes data = latents_of(subject_).nearest(code);
        if (step) return layered(std::move(data), *step);
        std::optional<std::int64_t> squares;
        if (std::optional<Divided> divided = with_overlay(&data, code)) {
            data = std::move(divided->data);
            squares = divided->squares;
        }
        const std::optional<Drawn> drawn = cheaper(data, squares, code);
        return drawn ? file_of(*drawn) : proved(std::move(data));
    }

    // The file that comes nearest to a size.
    Bytes fitted(const SizeGoal& goal) {
        std::optional<Drawn> drawn;
        each_drawing([&](Drawn&& now) {
            const auto size = static_cast<double>(size_of(now));
            if (size <= goal.goal) drawn = std::move(now);
            return size > goal.goal && size <= kHope * goal.goal;
        });
        if (drawn && drawn->squares == 0) return file_of(*drawn);  // nothing is better
        const auto of = [&](const Subject& subject) {
            LatentFiles files = latents_of(subject);
            std::function<Bytes(int, double)> trims;
            if (model_->config().form == Form::a)
                trims = [&](int code, double rate) { return files.trimmed_again(code, rate); };
            return fit([&](int code) { return files.nearest_again(code); }, trims, codes(), goal);
        };
        const int lowest = codes().lowest;
        const std::vector<Bytes> found = all_found(of, lowest).files;
        if (found.empty() && drawn) return file_of(*drawn);
        if (found.empty()) {  // what a drawing takes may be less than the nets' file
            Bytes data = plain(lowest / double{kQualitySteps}, {});
            if (static_cast<double>(data.size()) > goal.goal) throw too_small(goal, lowest, data.size());
            return data;
        }
        std::vector<std::int64_t> squares;
        for (const Bytes& data : found) squares.push_back(squares_of(data));
        const auto best = std::min_element(squares.begin(), squares.end());
        if (drawn && drawn->squares <= *best) return file_of(*drawn);
        return proved(found[static_cast<std::size_t>(best - squares.begin())]);
    }

    // The file whose PSNR comes nearest to one.
    Bytes fitted_psnr(double psnr) {
        const std::size_t samples = product(picture_.width, picture_.height, shape().channels);
        const auto psnr_at = [&](std::int64_t squares) {
            return psnr_of(static_cast<std::uint64_t>(squares), samples);
        };
        const auto of = [&](const Subject& subject) {
            LatentFiles files = latents_of(subject);
            const auto encode = [&](int code) {
                Bytes file = files.nearest_again(code);
                const double reached = psnr_at(squares_of(file));
                return std::pair(std::move(file), reached);
            };
            return fit_psnr(encode, codes(), psnr);
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
        const auto [found, refused] = all_found(of, codes().highest);
        if (found.empty()) {
            const std::optional<Drawn> drawn = drawn_within(SIZE_MAX);
            if (!drawn) throw *refused;
            return file_of(*drawn);
        }
        const Bytes& data = *std::min_element(found.begin(), found.end(),
                                              [](const Bytes& a, const Bytes& b) { return a.size() < b.size(); });
        const std::optional<Drawn> drawn = drawn_within(data.size());
        return drawn ? file_of(*drawn) : proved(data);
    }

private:
    // The file whose layer says the samples to within `bound`: it is decoded, and held to that.
    Bytes kept(const Bytes& layer, const Samples& samples, int bound) {
        Samples back(samples.size());
        parse_layer(layer, picture_.height, "the layer over the pixels").decode(back, shape(), 0, threads_, poll_);
        hold_to<std::uint8_t>(samples, back, bound, 0);
        OwnChunks chunks = subject_.chunks;
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
        OwnChunks chunks = subject_.chunks;
        chunks.put("LAYR", drawn.layer);
        return by_itself(chunks).size();
    }

    LatentFiles latents_of(const Subject& subject) const {
        return {subject.picture, subject.chunks, *model_, threads_, poll_};
    }

    // A picture with its drawn part laid over, and its file of the nearest integers.
    struct Divided {
        Subject subject;
        Bytes data;
        std::int64_t squares = 0;  // the sum of its squared errors
    };
    // Where that costs less than their file for the picture as it is, which is made where it is not given.
    std::optional<Divided> with_overlay(const Bytes* known, int code) const {
        if (!options_.drawings || picture_.is_deep()) return {};
        const Samples samples = picture_.samples();
        if (!maybe_drawn(samples, shape())) return {};
        const Bytes data = known != nullptr ? *known : latents_of(subject_).nearest(code);
        const Samples coarse = shown(data);
        std::optional<Overlaid> overlaid = jahp::overlaid(samples, coarse, shape(), code, data.size(), threads_, poll_);
        if (!overlaid) return {};
        Divided divided{{picture_, std::move(overlaid->filled), subject_.chunks}, {}, 0};
        Subject& subject = divided.subject;
        subject.picture = {subject.filled.data(),
                           product(shape().width, shape().channels),
                           picture_.width,
                           picture_.height,
                           shape().channels,
                           8,
                           {}};
        subject.chunks.put("LAYR", std::move(overlaid->layer));
        divided.data = latents_of(subject).nearest(code);
        const auto loss_of = [&](std::int64_t squares, const Bytes& file) {
            return loss(code, squares, file.size(), shape().channels);
        };
        divided.squares = squares_of(divided.data);
        if (loss_of(divided.squares, divided.data) >= loss_of(errors_of(samples, coarse).squares, data)) return {};
        return divided;
    }

    struct Found {
        std::vector<Bytes> files;
        std::optional<Error> refused;  // why there is none
    };
    // What `find` finds for the picture as it is and, where that costs less, with its drawn part laid over. code: of
    // the quality at which that part is to be found where there is no file to say it.
    Found all_found(const std::function<Bytes(const Subject&)>& find, int code) const {
        Found found;
        const auto attempt = [&](const Subject& subject) {
            try {
                found.files.push_back(find(subject));
                code = unpack(found.files.back(), UINT64_MAX).quality_code;
                return true;
            } catch (const Error& e) {
                if (e.fault() != Fault::usage) throw;
                if (!found.refused) found.refused = e;
                return false;
            }
        };
        attempt(subject_);
        for (int i = 0; i < 2; ++i) {  // the second time at the quality that the first one led to
            const std::optional<Divided> divided = with_overlay(nullptr, code);
            const int before = code;
            if (!divided || !attempt(divided->subject) || code == before) break;
        }
        return found;
    }

    // The samples that a file of latents decodes to.
    Samples shown(const Bytes& data) const {
        const Stream stream = unpack(data, UINT64_MAX);
        Samples samples = coarse_samples(stream, *model_, threads_, poll_);
        if (stream.layer) stream.layer->decode(samples, shape(), 0, threads_, poll_);
        return samples;
    }

    // The sum of the squared errors of what a file decodes to; alpha does not count.
    std::int64_t squares_of(const Bytes& data) const { return errors_of(picture_.samples(), shown(data)).squares; }

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

    // Of a drawing by itself what costs less than the file, whose squared errors may be known.
    std::optional<Drawn> cheaper(const Bytes& data, std::optional<std::int64_t> known, int code) const {
        std::optional<Drawn> best;
        std::optional<std::int64_t> last;
        std::int64_t least = 0;
        const int channels = shape().channels;
        const auto take = [&](Drawn&& drawn) {
            const std::int64_t now = loss(code, drawn.squares, size_of(drawn), channels);
            if (!last) {
                least = loss(code, 0, data.size(), channels);
                if (now > least)  // else it costs less, whatever the file loses
                    least = loss(code, known ? *known : squares_of(data), data.size(), channels);
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
            subject_.chunks.put(type, std::move(data));
        const Chunks chunks = subject_.chunks.views();
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
        if (options_.pixel_checksum) subject_.chunks.put("pcrc", checksum_of(bytes_of(back)));
    }

    CodeRange codes() const {
        const std::vector<double>& qualities = model_->config().qualities;
        return {quality_code(qualities.front()), quality_code(qualities.back()), quality_code(options_.quality)};
    }
    PixelShape shape() const { return {picture_.height, picture_.width, channels_of(picture_.mode())}; }

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
        return with(stream, "pcrc", checksum_of(shown(data)));
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
    Subject subject_;
};

}  // namespace

Bytes encode_picture(PictureView picture, const std::shared_ptr<CodecModel>& model, const EncoderOptions& options,
                     const Poll& poll) {
    const EncoderOptions checked = checked_options(picture, model.get(), options);
    const bool layered = checked.quality > 8;
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
