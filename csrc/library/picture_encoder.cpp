// SPDX-License-Identifier: Apache-2.0
#include "library/picture_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/error.hpp"
#include "library/drawings.hpp"
#include "library/encoder_checks.hpp"
#include "library/exact_files.hpp"
#include "library/latent_files.hpp"
#include "library/own_chunks.hpp"
#include "library/rate_control.hpp"
#include "residual/drawing.hpp"
#include "residual/overlay.hpp"

namespace jahp {
namespace {

// A picture as its nets get it, and all else that belongs to its file.
struct Subject {
    PictureView picture;
    std::shared_ptr<const Samples> filled;  // what `picture` shows, if it is not the picture as it is
    OwnChunks chunks;
};

class Encoding {
public:
    Encoding(const PictureView& picture, CodecModel* model, const EncoderOptions& options, const Poll& poll)
        : picture_(picture), model_(model), options_(options), poll_(poll), threads_(options.threads),
          subject_{picture, nullptr, {}}, exact_(picture, subject_.chunks, options, poll) {
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
        if (options.pixel_checksum) subject_.chunks.put(kPixelChecksum, Bytes(4));
    }

    const ExactFiles& exact() const { return exact_; }

    // The nearest integers at a quality; above 8 at a lower one, and a residual layer over them.
    Bytes plain(double quality) {
        return quality > 8 ? layered(quality) : settled(latents_of(subject_).nearest(quality_code(quality)));
    }

    // The file that comes nearest to a size.
    Bytes fitted(const SizeGoal& goal) {
        Drawings ways = exact_.drawings();
        std::optional<Drawn> drawn = ways.next();
        while (drawn && static_cast<double>(exact_.size_of(*drawn)) > goal.goal) {
            const bool hope = static_cast<double>(exact_.size_of(*drawn)) <= kHope * goal.goal;
            drawn = hope ? ways.next() : std::nullopt;
        }
        if (drawn && drawn->squares == 0) return exact_.of(*drawn);  // nothing is better
        const auto of = [&](const Subject& subject) {
            LatentFiles files = latents_of(subject);
            std::function<LatentFile(int, double)> trims;
            if (model_->config().form == Form::a)
                trims = [&](int code, double rate) { return files.trimmed_again(code, rate); };
            return fit([&](int code) { return files.nearest_again(code); }, trims, codes(), goal);
        };
        const int lowest = codes().lowest;
        const std::vector<LatentFile> found = all_found(of, lowest).files;
        if (found.empty() && drawn) return exact_.of(*drawn);
        if (found.empty()) {  // what a drawing takes may be less than the nets' file
            Bytes data = plain(lowest / double{kQualitySteps});
            if (static_cast<double>(data.size()) > goal.goal) throw too_small(goal, lowest, data.size());
            return data;
        }
        std::vector<std::int64_t> squares;
        for (const LatentFile& file : found) squares.push_back(squares_of(file));
        const auto best = std::min_element(squares.begin(), squares.end());
        if (drawn && drawn->squares <= *best) return exact_.of(*drawn);
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
                LatentFile file = files.nearest_again(code);
                const double reached = psnr_at(squares_of(file));
                return std::pair(std::move(file), reached);
            };
            return fit_psnr(encode, codes(), psnr);
        };
        const auto drawn_within = [&](std::size_t most) {
            std::optional<Drawn> best;
            Drawings ways = exact_.drawings();
            while (std::optional<Drawn> drawn = ways.next()) {
                const std::size_t size = exact_.size_of(*drawn);
                if (psnr_at(drawn->squares) < psnr || size / kHope > most) break;
                if (size <= most && (!best || size < exact_.size_of(*best))) best = std::move(drawn);
            }
            return best;
        };
        const auto [found, refused] = all_found(of, codes().highest);
        if (found.empty()) {
            const std::optional<Drawn> drawn = drawn_within(SIZE_MAX);
            if (!drawn) throw *refused;
            return exact_.of(*drawn);
        }
        const LatentFile& file = *std::min_element(
            found.begin(), found.end(), [](const auto& a, const auto& b) { return a.data.size() < b.data.size(); });
        const std::optional<Drawn> drawn = drawn_within(file.data.size());
        return drawn ? exact_.of(*drawn) : proved(file);
    }

private:
    LatentFiles latents_of(const Subject& subject) const {
        return {subject.picture, subject.chunks, *model_, threads_, poll_};
    }

    // What a file of latents looks like, once somebody asks; the file must outlive it.
    struct Look {
        std::function<const Samples&()> samples;
        std::function<std::int64_t()> loss;
    };
    Look look_at(const LatentFile& file) const {
        const auto seen = std::make_shared<std::optional<Samples>>();
        const auto samples = [this, seen, &file]() -> const Samples& {
            if (!*seen) *seen = shown(file);
            return **seen;
        };
        return {samples, [this, samples, &file] {
                    return loss_of(file.code, errors_of(picture_.samples(), samples()).squares, file.data.size());
                }};
    }

    bool maybe_divided() const {
        return options_.drawings && !picture_.is_deep() && maybe_drawn(picture_.samples(), shape());
    }
    // Parts to lay over, where that may pay; file: without.
    std::vector<Overlaid> parts_of(const LatentFile& file, const Look& look) const {
        return overlaid(picture_.samples(), look.samples(), shape(), file.code, file.data.size(), threads_, poll_);
    }
    // With one of them.
    Subject divided(const Overlaid& part) const {
        auto filled = std::make_shared<const Samples>(fill_drawn(picture_.samples(), part.holes, shape()));
        const int n = shape().channels;
        const PictureView view{filled->data(), product(shape().width, n), picture_.width, picture_.height, n, 8, {}};
        Subject subject{view, std::move(filled), subject_.chunks};
        subject.chunks.put("LAYR", part.layer);
        return subject;
    }
    struct Laid {
        LatentFile file;
        std::int64_t loss;
        Subject subject;
    };
    // With the plain ground laid over the pixels of a file, where that costs less.
    std::optional<Laid> on_plain_ground(const LatentFile& file, const Look& look) const {
        const std::optional<Bytes> layer = plain_ground(picture_.samples(), shape(), threads_, poll_);
        if (!layer) return {};
        LatentFile laid{file.code, with(unpack(file.data, UINT64_MAX), "LAYR", *layer), file.y};
        Samples seen = look.samples();
        unpack(laid.data, UINT64_MAX).layer->decode(seen, shape(), 0, threads_, poll_);
        const std::int64_t loss = loss_of(file.code, errors_of(picture_.samples(), seen).squares, laid.data.size());
        if (loss >= look.loss()) return {};
        Subject subject{picture_, nullptr, subject_.chunks};
        subject.chunks.put("LAYR", *layer);
        return Laid{std::move(laid), loss, std::move(subject)};
    }
    // The file with that part laid over that costs least, if less than `below`; it is made where there is hope.
    std::optional<Laid> under(const std::vector<Overlaid>& parts, std::int64_t below, int code) const {
        std::optional<Laid> best;
        for (const Overlaid& part : parts) {
            if (part.hoped >= below) continue;
            Subject subject = divided(part);
            LatentFile file = latents_of(subject).nearest(code);
            const std::int64_t loss = look_at(file).loss();
            if (loss >= below) continue;
            best = {std::move(file), loss, std::move(subject)};
            below = loss;
        }
        return best;
    }
    // The picture with its drawn part or its plain ground laid over, where that costs less than `file`, without.
    std::optional<Subject> laid_over(const LatentFile& file) const {
        const Look look = look_at(file);
        const std::vector<Overlaid> parts = parts_of(file, look);
        std::optional<Laid> best = on_plain_ground(file, look);
        if (std::optional<Laid> laid = under(parts, best ? best->loss : look.loss(), file.code)) best = std::move(laid);
        if (!best) return {};
        return std::move(best->subject);
    }

    // The file of the nearest integers with what belongs to it; or a drawing's by itself, or with its drawn part or
    // plain ground laid over, where that costs less.
    Bytes settled(const LatentFile& file) {
        const int code = file.code;
        const Look look = look_at(file);
        std::vector<Overlaid> parts;
        std::optional<Laid> best;
        if (maybe_divided()) {
            parts = parts_of(file, look);
            best = on_plain_ground(file, look);
        }
        const auto least = [&] { return best ? best->loss : look.loss(); };
        Drawings ways = exact_.drawings();
        std::optional<Drawn> exact = ways.next();
        const auto hopeful = [&](const Overlaid& part) { return loss_by_itself(*exact, code) > kHope * part.hoped; };
        if (!parts.empty() && (!exact || std::any_of(parts.begin(), parts.end(), hopeful))) {
            if (std::optional<Laid> laid = under(parts, least(), code)) best = std::move(laid);
            parts.clear();
        }
        const LatentFile& nets = best ? best->file : file;
        std::optional<Drawn> drawn;
        if (exact) drawn = cheaper(std::move(*exact), ways, nets.data.size(), least, code);
        if (!parts.empty())
            if (const auto laid = under(parts, drawn ? loss_by_itself(*drawn, code) : least(), code))
                return proved(laid->file);
        return drawn ? exact_.of(*drawn) : proved(nets);
    }

    struct Found {
        std::vector<LatentFile> files;
        std::optional<Error> refused;  // why there is none
    };
    // What `find` finds for the picture as it is and, where that costs less, with its drawn part or plain ground laid
    // over. code: of the quality at which these are to be found where there is no file to say it.
    Found all_found(const std::function<LatentFile(const Subject&)>& find, int code) const {
        Found found;
        const auto attempt = [&](const Subject& subject) {
            try {
                found.files.push_back(find(subject));
                code = found.files.back().code;
                return true;
            } catch (const Error& e) {
                if (e.fault() != Fault::usage) throw;
                if (!found.refused) found.refused = e;
                return false;
            }
        };
        attempt(subject_);
        for (int i = 0; i < 2; ++i) {  // the second time at the quality that the first one led to
            if (!maybe_divided()) break;
            const std::optional<Subject> other = laid_over(latents_of(subject_).nearest(code));
            const int before = code;
            if (!other || !attempt(*other) || code == before) break;
        }
        return found;
    }

    // The samples that a file of latents decodes to.
    Samples shown(const LatentFile& file) const {
        const Stream stream = unpack(file.data, UINT64_MAX);
        Samples samples = coarse_samples<std::uint8_t>(file, stream, *model_, threads_, poll_);
        if (stream.layer) stream.layer->decode(samples, shape(), 0, threads_, poll_);
        return samples;
    }

    // The sum of the squared errors of what a file decodes to; alpha does not count.
    std::int64_t squares_of(const LatentFile& file) const { return errors_of(picture_.samples(), shown(file)).squares; }

    // The file with a residual layer, or a drawing's by itself, where that takes no more.
    Bytes layered(double quality) {
        LatentFiles files = latents_of(subject_);
        const LatentFile file = files.nearest_again(quality_code(kLayerBase));
        const std::optional<Drawn> exact = exact_.drawings().next();
        const std::size_t size = exact ? exact_.size_of(*exact) : SIZE_MAX;
        if (size <= file.data.size()) return exact_.of(*exact);  // a layer only adds to it
        // A smooth picture's layer is laid over a finer file.
        const std::size_t payload = unpack(file.data, UINT64_MAX).payload.size();
        const bool smooth = kSmoothPixels * payload < product(picture_.width, picture_.height);
        const LatentFile below = smooth ? files.nearest_again(quality_code(smooth_base(quality))) : file;
        const int step = layer_step(quality);
        Bytes data = picture_.is_deep() ? refined<std::uint16_t>(below, picture_.deep_samples(), step)
                                        : refined<std::uint8_t>(below, picture_.samples(), step);
        return size > data.size() ? data : exact_.of(*exact);
    }

    // Of the ways to keep a drawing by itself one that costs no more than a file of so many bytes, the loss of which is
    // least().
    std::optional<Drawn> cheaper(Drawn exact, Drawings& ways, std::size_t bytes,
                                 const std::function<std::int64_t()>& least, int code) const {
        std::int64_t last = loss_by_itself(exact, code), bar = loss_of(code, 0, bytes);
        if (last > bar) bar = least();  // else it costs less, whatever the file loses
        if (last > kHope * bar) return {};
        std::optional<Drawn> best;
        if (last <= bar) {
            best = std::move(exact);
            bar = last;
        }
        const auto worth = [&](std::int64_t squares) { return loss_of(code, squares, 0) < last; };
        while (std::optional<Drawn> drawn = ways.next(worth)) {
            const std::int64_t now = loss_by_itself(*drawn, code);
            if (now > kHope * bar || now >= last) break;
            last = now;
            if (now > bar) continue;
            best = std::move(drawn);
            bar = now;
        }
        return best;
    }
    std::int64_t loss_by_itself(const Drawn& drawn, int code) const {
        return loss_of(code, drawn.squares, exact_.size_of(drawn));
    }
    std::int64_t loss_of(int code, std::int64_t squares, std::size_t size) const {
        return loss(code, squares, size, shape().channels);
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
    Bytes proved(const LatentFile& file) {
        if (!options_.pixel_checksum) return file.data;
        return with(unpack(file.data, UINT64_MAX), kPixelChecksum, checksum_of(shown(file)));
    }

    // The file with a residual layer over its pixels, and the checksum of what they become.
    template <typename Sample>
    Bytes refined(const LatentFile& file, const std::vector<Sample>& samples, int step) {
        const Stream stream = unpack(file.data, UINT64_MAX);
        std::vector<Sample> coarse = coarse_samples<Sample>(file, stream, *model_, threads_, poll_);
        const Bytes layer = pack_residual<Sample>(samples, coarse, shape(), step, threads_, poll_);
        Bytes out = with(stream, "LAYR", layer);
        if (!options_.pixel_checksum) return out;
        const Stream layered = unpack(out, UINT64_MAX);
        layered.layer->decode(coarse, shape(), 0, threads_, poll_);
        if constexpr (sizeof(Sample) == 1)
            return with(layered, kPixelChecksum, checksum_of(coarse));
        else
            return with(layered, kPixelChecksum, checksum_of(bytes_of(coarse)));
    }

    const PictureView& picture_;
    CodecModel* const model_;
    const EncoderOptions& options_;
    const Poll& poll_;
    const int threads_;
    Subject subject_;
    const ExactFiles exact_;
};

}  // namespace

Bytes encode_picture(PictureView picture, const std::shared_ptr<CodecModel>& model, const EncoderOptions& options,
                     const Poll& poll) {
    const EncoderOptions checked = checked_options(picture, model.get(), options);
    poll();
    Encoding encoding(picture, model.get(), checked, poll);
    if (options.max_error) return encoding.exact().within(*options.max_error);
    const bool sized = options.max_bytes || options.target_bpp;
    const std::optional<Bytes> flat = encoding.exact().of_one_colour();
    if (flat && !(sized && static_cast<double>(flat->size()) > goal_of(options, picture).goal)) return *flat;
    if (options.target_psnr) return encoding.fitted_psnr(*options.target_psnr);
    if (sized) return encoding.fitted(goal_of(options, picture));
    return encoding.plain(checked.quality);
}

}  // namespace jahp
