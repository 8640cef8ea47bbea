// SPDX-License-Identifier: Apache-2.0
#include "library/picture_decoder.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "core/latent_decode.hpp"
#include "library/little_endian.hpp"

namespace jahp {
namespace {

// Smaller images go through g_s nearly whole: their latents are decoded first, by threads that nobody else wants.
constexpr std::int64_t kOverlapPixels = 1 << 22;

class Coarse : public RowSource {
public:
    Coarse(const Stream& stream, CodecModel& model, int threads, const Poll& poll)
        : stream_(stream), model_(model), threads_(threads), poll_(poll), height_(up(stream.height, kStride)) {}

    Samples next() override { return advance<std::uint8_t>(); }
    DeepSamples next_deep() override { return advance<std::uint16_t>(); }

private:
    template <typename T>
    std::vector<T> advance() {
        if (!synthesis_) start(sizeof(T) > 1);
        while (row_ < height_) {
            poll_();
            const int count = std::min(kLatentRows, height_ - row_);
            std::vector<T> rgb = synthesis_->push<T>(next_rows(count), threads_);
            row_ += count;
            if (!rgb.empty()) return stream_.mode == Mode::rgb ? rgb : grey_of<T>(rgb);
        }
        return {};
    }

    void start(bool deep) {
        const StreamLayout layout = model_.layout(stream_);
        const EntropyModel& entropy = model_.entropy();
        if (std::int64_t{stream_.width} * stream_.height < kOverlapPixels) {
            decode_latents(entropy, stream_.payload, layout, threads_, latents_, nullptr, [&](int) { poll_(); });
            check(symbol_checksum(latents_.z, latents_.y));
        } else {
            decode_.emplace(entropy, stream_.payload, layout, threads_);
        }
        synthesis_.emplace(model_.transforms().synthesis(stream_.quality(), stream_.height, stream_.width, deep));
    }

    // From row_ on; the last ones when the checksum has been found right.
    std::span<const std::int32_t> next_rows(int count) {
        const std::size_t pitch = latents_.y.size() / static_cast<std::size_t>(height_);
        if (!decode_)
            return std::span(latents_.y)
                .subspan(static_cast<std::size_t>(row_) * pitch, static_cast<std::size_t>(count) * pitch);
        waited_ = decode_->rows(count, poll_);
        if (row_ + count == height_) check(decode_->finish(poll_));
        return waited_;
    }

    void check(std::uint32_t checksum) const {
        if (checksum != stream_.checksum)
            throw Error(Fault::format, "the checksum of the decoded symbols does not match");
    }

    const Stream& stream_;
    CodecModel& model_;
    const int threads_;
    const Poll& poll_;
    const int height_;  // of y
    int row_ = 0;  // of y, that goes into g_s next
    Latents latents_;
    std::optional<LatentDecode> decode_;  // of large images, in place of latents_
    std::vector<std::int32_t> waited_;  // what it gave last
    std::optional<Synthesis> synthesis_;
};

// Rows of whole strips, as many at a time as there are threads.
class ExactRows : public RowSource {
public:
    ExactRows(const Stream& stream, int threads, const Poll& poll)
        : layer_(*stream.layer), shape_(stream.shape()), threads_(threads), poll_(poll) {}

    Samples next() override {
        if (done_ == shape_.height) return {};
        poll_();
        const std::int64_t most = std::int64_t{layer_.rows} * threads_;
        const int count = static_cast<int>(std::min<std::int64_t>(most, shape_.height - done_));
        Samples samples(product(count, shape_.width, shape_.channels));
        layer_.decode(samples, {count, shape_.width, shape_.channels}, done_ / layer_.rows, threads_, poll_);
        done_ += count;
        return samples;
    }

private:
    const Layer& layer_;
    const PixelShape shape_;
    const int threads_;
    const Poll& poll_;
    int done_ = 0;
};

// Coarse rows and what they lack, which are read as far as a block of strips needs.
class RefinedRows : public RowSource {
public:
    RefinedRows(std::unique_ptr<RowSource> coarse, const Stream& stream, int threads, const Poll& poll)
        : coarse_(std::move(coarse)), layer_(*stream.layer), shape_(stream.shape()), threads_(threads), poll_(poll) {}

    Samples next() override {
        const std::size_t pitch = product(shape_.width, shape_.channels);
        while (done_ < shape_.height) {
            const Samples more = coarse_->next();
            held_.insert(held_.end(), more.begin(), more.end());
            const int waiting = static_cast<int>(held_.size() / pitch);
            const std::int64_t block = std::int64_t{layer_.rows} * threads_;
            const int whole = done_ + waiting == shape_.height ? waiting : static_cast<int>(waiting / block * block);
            if (whole == 0) continue;
            Samples samples(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(pitch) * whole);
            held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(samples.size()));
            layer_.decode(samples, {whole, shape_.width, shape_.channels}, done_ / layer_.rows, threads_, poll_);
            done_ += whole;
            return samples;
        }
        return {};
    }

private:
    const std::unique_ptr<RowSource> coarse_;
    const Layer& layer_;
    const PixelShape shape_;
    const int threads_;
    const Poll& poll_;
    Samples held_;
    int done_ = 0;
};

}  // namespace

// Alpha by rows, whole strips of it at a time.
class PictureDecoder::Alpha {
public:
    Alpha(BytesView data, int height, int width, const Poll& poll)
        : layer_(parse_layer(data, height, "alpha")), height_(height), width_(width), poll_(poll) {
        if (layer_.kind == LayerKind::residual || layer_.bound != 0)
            throw Error(Fault::format, "alpha is not of a kind that keeps every value");
    }

    Samples rows(int count) {
        const std::size_t size = product(count, width_);
        if (held_.size() < size) {
            const int missing = count - static_cast<int>(held_.size() / product(width_, 1));
            const std::int64_t wanted = (std::int64_t{missing} + layer_.rows - 1) / layer_.rows * layer_.rows;
            const int more = static_cast<int>(std::min<std::int64_t>(wanted, height_ - done_));
            const std::size_t before = held_.size();
            held_.resize(before + product(more, width_));
            layer_.decode(std::span(held_).subspan(before), {more, width_, 1}, done_ / layer_.rows, 1, poll_);
            done_ += more;
        }
        Samples out(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(size));
        held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(size));
        return out;
    }

private:
    const Layer layer_;
    const int height_, width_;
    const Poll& poll_;
    int done_ = 0;
    Samples held_;
};

std::unique_ptr<RowSource> coarse_rows(const Stream& stream, CodecModel& model, int threads, const Poll& poll) {
    return std::make_unique<Coarse>(stream, model, threads, poll);
}

Samples coarse_samples(const Stream& stream, CodecModel& model, int threads, const Poll& poll) {
    Samples all;
    all.reserve(product(stream.height, stream.width, channels_of(stream.mode)));
    const std::unique_ptr<RowSource> rows = coarse_rows(stream, model, threads, poll);
    for (Samples some = rows->next(); !some.empty(); some = rows->next())
        all.insert(all.end(), some.begin(), some.end());
    return all;
}

PictureDecoder::PictureDecoder(const Stream& stream, std::shared_ptr<CodecModel> model, bool deep, int threads,
                               const Poll& poll)
    : stream_(stream), model_(std::move(model)), deep_(deep), left_(stream.height) {
    const BytesView *alpha = stream.chunk("ALPH"), *rest = stream.chunk("alpl");
    if (alpha != nullptr) alpha_ = std::make_unique<Alpha>(*alpha, stream.height, stream.width, poll);
    if (deep && alpha != nullptr && rest != nullptr)
        alpha_rest_ = std::make_unique<Alpha>(*rest, stream.height, stream.width, poll);
    if (stream.exact()) {
        rows_ = std::make_unique<ExactRows>(stream, threads, poll);
        return;
    }
    rows_ = coarse_rows(stream, *model_, threads, poll);
    if (stream.layer) rows_ = std::make_unique<RefinedRows>(std::move(rows_), stream, threads, poll);
}

PictureDecoder::~PictureDecoder() = default;

PictureDecoder::Rows PictureDecoder::next() {
    Rows rows;
    if (left_ == 0) return rows;
    if (deep_)
        rows.deep = rows_->next_deep();
    else
        rows.samples = rows_->next();
    const std::size_t size = rows.samples.size() + rows.deep.size();
    rows.count = static_cast<int>(size / product(stream_.width, channels_of(stream_.mode)));
    left_ -= rows.count;
    const BytesView* checksum = stream_.chunk("pcrc");
    if (checksum != nullptr && !deep_) {  // which is of 8 bits
        crc_ = crc32c(rows.samples, crc_);
        if (left_ == 0 && crc_ != get_u32(*checksum, 0))
            throw Error(Fault::format,
                        "the checksum of the pixels does not match: this decoder, or its model, is not the "
                        "one that the file was made for");
    }
    if (alpha_ == nullptr) return rows;
    rows.alpha = alpha_->rows(rows.count);
    if (!deep_) return rows;
    rows.deep_alpha = widened(rows.alpha);
    if (alpha_rest_ != nullptr) {
        const Samples lower = alpha_rest_->rows(rows.count);
        for (std::size_t i = 0; i < lower.size(); ++i)
            rows.deep_alpha[i] = static_cast<std::uint16_t>(rows.alpha[i] << 8 | lower[i]);
    }
    return rows;
}

}  // namespace jahp
