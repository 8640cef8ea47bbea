// SPDX-License-Identifier: Apache-2.0
#include "library/picture_decoder.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "core/latent_decode.hpp"
#include "library/deep_layer.hpp"
#include "library/little_endian.hpp"

namespace jahp {
namespace {

// Smaller images go through g_s nearly whole: their latents are decoded first, by threads that nobody else wants.
constexpr std::int64_t kOverlapPixels = 1 << 22;

class Coarse : public RowSource {
public:
    Coarse(const Stream& stream, CodecModel& model, const View& view, int threads, const Poll& poll)
        : stream_(stream), model_(model), view_(view), threads_(threads), poll_(poll) {}

    Samples next() override { return advance<std::uint8_t>(); }
    DeepSamples next_deep() override { return advance<std::uint16_t>(); }

private:
    template <typename T>
    std::vector<T> advance() {
        if (!synthesis_) start();
        const int height = synthesis_->part().height();
        while (row_ < height) {
            poll_();
            const int count = std::min(kLatentRows, height - row_);
            std::vector<T> rgb = synthesis_->push<T>(next_rows(count), threads_);
            row_ += count;
            if (!rgb.empty()) return stream_.mode == Mode::rgb ? rgb : grey_of<T>(rgb);
        }
        return {};
    }

    void start() {
        const StreamLayout layout = model_.layout(stream_);
        const EntropyModel& entropy = model_.entropy();
        if (std::int64_t{stream_.width} * stream_.height < kOverlapPixels) {
            decode_latents(entropy, stream_.payload, layout, threads_, latents_, nullptr, [&](int) { poll_(); });
            check(symbol_checksum(latents_.z, latents_.y));
            synthesis_.emplace(made());
        } else {
            synthesis_.emplace(made());
            decode_.emplace(entropy, stream_.payload, layout, threads_, synthesis_->part());
        }
    }

    Synthesis made() { return model_.transforms().synthesis(stream_.quality(), stream_.height, stream_.width, view_); }

    // Of the part, from its row_ on; the last ones when the checksum has been found right.
    const std::vector<std::int32_t>& next_rows(int count) {
        const LatentWindow& part = synthesis_->part();
        if (decode_) {
            rows_ = decode_->rows(count, poll_);
            if (row_ + count == part.height()) check(decode_->finish(poll_));
            return rows_;
        }
        const std::size_t each = latents_.y.size() / product(latents_.height, latents_.width);
        rows_.clear();
        for (int row = part.top + row_; row < part.top + row_ + count; ++row) {
            const auto from = latents_.y.begin() + static_cast<std::ptrdiff_t>(
                                                       (product(row, latents_.width) + product(part.left, 1)) * each);
            rows_.insert(rows_.end(), from, from + static_cast<std::ptrdiff_t>(product(part.width(), 1) * each));
        }
        return rows_;
    }

    void check(std::uint32_t checksum) const {
        if (checksum != stream_.checksum)
            throw Error(Fault::format, "the checksum of the decoded symbols does not match");
    }

    const Stream& stream_;
    CodecModel& model_;
    const View view_;
    const int threads_;
    const Poll& poll_;
    int row_ = 0;  // of the part of y, that goes into g_s next
    Latents latents_;
    std::optional<LatentDecode> decode_;  // of large images, in place of latents_
    std::vector<std::int32_t> rows_;  // that went into g_s last
    std::optional<Synthesis> synthesis_;
};

// Rows [first, end) of a picture.
struct RowRange {
    int first, end;
};

// Those of whole strips of a layer that hold the rows of a view at full size.
RowRange strips_around(const Stream& stream, const View& view) {
    const int rows = stream.layer->rows, end = up(view.top + view.height, rows) * rows;
    return {view.top / rows * rows, std::min(end, stream.height)};
}

// Rows of whole strips, as many at a time as there are threads.
class ExactRows : public RowSource {
public:
    ExactRows(const Stream& stream, const RowRange& range, int threads, const Poll& poll)
        : layer_(*stream.layer), shape_(stream.shape()), threads_(threads), poll_(poll), done_(range.first),
          end_(range.end) {
        if (stream.depth() > 8) deep_.emplace(layer_, stream.chunk("VALS"), stream.depth());
    }

    Samples next() override { return deep_ ? narrowed(take<std::uint16_t>(*deep_)) : take<std::uint8_t>(layer_); }
    DeepSamples next_deep() override {
        return deep_ ? take<std::uint16_t>(*deep_) : widened(take<std::uint8_t>(layer_));
    }

private:
    template <typename T, typename Decoder>
    std::vector<T> take(const Decoder& decoder) {
        if (done_ == end_) return {};
        poll_();
        const std::int64_t most = std::int64_t{layer_.rows} * threads_;
        const int count = static_cast<int>(std::min<std::int64_t>(most, end_ - done_));
        std::vector<T> samples(product(count, shape_.width, shape_.channels));
        decoder.decode(samples, {count, shape_.width, shape_.channels}, done_ / layer_.rows, threads_, poll_);
        done_ += count;
        return samples;
    }

    const Layer& layer_;
    std::optional<DeepLayer> deep_;  // of more than 8 bits
    const PixelShape shape_;
    const int threads_;
    const Poll& poll_;
    int done_;
    const int end_;
};

// Coarse rows of whole strips and what they lack, which are read as far as a block of strips needs.
class RefinedRows : public RowSource {
public:
    RefinedRows(std::unique_ptr<RowSource> coarse, const Stream& stream, const RowRange& range, int threads,
                const Poll& poll)
        : coarse_(std::move(coarse)), layer_(*stream.layer), shape_(stream.shape()), threads_(threads), poll_(poll),
          done_(range.first), end_(range.end) {}

    Samples next() override { return deep() ? narrowed(take(held_deep_)) : take(held_); }
    DeepSamples next_deep() override { return deep() ? take(held_deep_) : widened(take(held_)); }

private:
    bool deep() const { return layer_.bits > 8; }

    // What is held are coarse rows.
    template <typename T>
    std::vector<T> take(std::vector<T>& held) {
        const std::size_t pitch = product(shape_.width, shape_.channels);
        while (done_ < end_) {
            std::vector<T> more;
            if constexpr (sizeof(T) == 1)
                more = coarse_->next();
            else
                more = coarse_->next_deep();
            held.insert(held.end(), more.begin(), more.end());
            const int waiting = static_cast<int>(held.size() / pitch);
            const std::int64_t block = std::int64_t{layer_.rows} * threads_;
            const int whole = done_ + waiting == end_ ? waiting : static_cast<int>(waiting / block * block);
            if (whole == 0) continue;
            std::vector<T> samples(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(pitch) * whole);
            held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(samples.size()));
            layer_.decode(samples, {whole, shape_.width, shape_.channels}, done_ / layer_.rows, threads_, poll_);
            done_ += whole;
            return samples;
        }
        return {};
    }

    const std::unique_ptr<RowSource> coarse_;
    const Layer& layer_;
    const PixelShape shape_;
    const int threads_;
    const Poll& poll_;
    Samples held_;
    DeepSamples held_deep_;  // or these
    int done_;
    const int end_;
};

// A rectangle out of rows of a picture.
class CutRows : public RowSource {
public:
    // first: the row of the picture that `rows` begins with. view: at full size.
    CutRows(std::unique_ptr<RowSource> rows, int first, PixelShape shape, const View& view)
        : rows_(std::move(rows)), shape_(shape), view_(view), row_(first) {}

    Samples next() override {
        return cut<std::uint8_t>([this] { return rows_->next(); });
    }
    DeepSamples next_deep() override {
        return cut<std::uint16_t>([this] { return rows_->next_deep(); });
    }

private:
    template <typename T, typename Take>
    std::vector<T> cut(const Take& take) {
        const std::size_t pitch = product(shape_.width, shape_.channels);
        std::vector<T> out;
        while (out.empty()) {
            const std::vector<T> block = take();
            if (block.empty()) return out;
            for (std::size_t at = 0; at < block.size(); at += pitch, ++row_) {
                if (row_ < view_.top || row_ >= view_.top + view_.height) continue;
                const auto from = block.begin() +
                                  static_cast<std::ptrdiff_t>(at + product(view_.left, shape_.channels));
                out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(product(view_.width, shape_.channels)));
            }
        }
        return out;
    }

    const std::unique_ptr<RowSource> rows_;
    const PixelShape shape_;
    const View view_;
    int row_;
};

// The means of squares of rows.
class MeanRows : public RowSource {
public:
    MeanRows(std::unique_ptr<RowSource> rows, PixelShape shape, int scale)
        : rows_(std::move(rows)), means_(shape.height, shape.width, shape.channels, scale) {}

    Samples next() override {
        for (Samples block = rows_->next(); !block.empty(); block = rows_->next()) {
            Samples means = means_.push(block);
            if (!means.empty()) return means;
        }
        return {};
    }

private:
    const std::unique_ptr<RowSource> rows_;
    SquareMeans means_;
};

// The samples of a view. What it is given must outlive it.
std::unique_ptr<RowSource> rows_of(const Stream& stream, CodecModel* model, const View& view, int threads,
                                   const Poll& poll) {
    // Small pictures below a residual layer are made of the coarse pixels.
    if (!stream.layer || (stream.layer->kind == LayerKind::residual && view.scale > 1))
        return std::make_unique<Coarse>(stream, *model, view, threads, poll);
    const View large = view.at_full_size(stream.height, stream.width);
    const RowRange range = strips_around(stream, large);
    std::unique_ptr<RowSource> rows;
    if (stream.exact()) {
        rows = std::make_unique<ExactRows>(stream, range, threads, poll);
    } else {
        const bool deep = stream.layer->bits > 8;
        const View strips{1, range.first, 0, range.end - range.first, stream.width, view.partial, deep};
        rows = std::make_unique<RefinedRows>(std::make_unique<Coarse>(stream, *model, strips, threads, poll), stream,
                                             range, threads, poll);
    }
    if (!view.partial) return rows;
    const PixelShape shape = stream.shape();
    rows = std::make_unique<CutRows>(std::move(rows), range.first, shape, large);
    if (view.scale == 1) return rows;
    return std::make_unique<MeanRows>(std::move(rows), PixelShape{large.height, large.width, shape.channels},
                                      view.scale);
}

}  // namespace

// Alpha of a view by rows, whole strips of it at a time.
class PictureDecoder::Alpha {
public:
    Alpha(BytesView data, int height, int width, const View& view, const Poll& poll)
        : layer_(parse_layer(data, height, "alpha")), height_(height), width_(width), poll_(poll), view_(view),
          full_(view.at_full_size(height, width)) {
        if (!layer_.exact() || layer_.bound != 0)
            throw Error(Fault::format, "alpha is not of a kind that keeps every value");
        if (view.scale > 1) means_.emplace(full_.height, full_.width, 1, view.scale);
    }

    // The next rows of the view.
    Samples rows(int count) {
        skip(full_.top - taken_);
        Samples rows = take(std::min(count * view_.scale, full_.top + full_.height - taken_));
        if (full_.width < width_) {
            Samples cut;
            for (std::size_t at = product(full_.left, 1); at < rows.size(); at += product(width_, 1)) {
                const auto from = rows.begin() + static_cast<std::ptrdiff_t>(at);
                cut.insert(cut.end(), from, from + full_.width);
            }
            rows = std::move(cut);
        }
        return means_ ? means_->push(rows) : rows;
    }

    // Once all rows of the view are there: what is left is checked.
    void finish() { skip(height_ - taken_); }

private:
    void skip(int count) {
        for (; count > 0; count -= kSkipped) take(std::min(count, kSkipped));
    }

    Samples take(int count) {
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
        taken_ += count;
        return out;
    }

    static constexpr int kSkipped = 64;  // rows at a time

    const Layer layer_;
    const int height_, width_;
    const Poll& poll_;
    const View view_, full_;  // and the same at full size
    std::optional<SquareMeans> means_;
    int done_ = 0, taken_ = 0;  // rows of the picture: decoded, and no longer held
    Samples held_;
};

PictureDecoder::PictureDecoder(const Stream& stream, std::shared_ptr<CodecModel> model, const View& view, int threads,
                               const Poll& poll)
    : stream_(stream), model_(std::move(model)), rows_(rows_of(stream, model_.get(), view, threads, poll)), view_(view),
      judged_deep_(!view.partial && stream.layer && stream.depth() > 8), left_(view.height) {
    const BytesView *alpha = stream.chunk("ALPH"), *rest = stream.chunk("alpl");
    if (alpha == nullptr) return;
    alpha_ = std::make_unique<Alpha>(*alpha, stream.height, stream.width, view, poll);
    if (view.deep && rest != nullptr)
        alpha_rest_ = std::make_unique<Alpha>(*rest, stream.height, stream.width, view, poll);
}

PictureDecoder::~PictureDecoder() = default;

PictureDecoder::Rows PictureDecoder::next() {
    Rows rows;
    if (left_ == 0) return rows;
    if (view_.deep || judged_deep_)
        rows.deep = rows_->next_deep();
    else
        rows.samples = rows_->next();
    const std::size_t size = rows.samples.size() + rows.deep.size();
    rows.count = static_cast<int>(size / product(view_.width, channels_of(stream_.mode)));
    left_ -= rows.count;
    const BytesView* checksum = stream_.chunk("pcrc");
    if (checksum != nullptr && !view_.partial && (judged_deep_ || !view_.deep)) {
        crc_ = crc32c(judged_deep_ ? bytes_of(rows.deep) : rows.samples, crc_);
        if (left_ == 0 && crc_ != get_u32(*checksum, 0))
            throw Error(Fault::format,
                        "the checksum of the pixels does not match: this decoder, or its model, is not the "
                        "one that the file was made for");
    }
    if (judged_deep_ && !view_.deep) {
        rows.samples = narrowed(rows.deep);
        rows.deep.clear();
    }
    if (alpha_ == nullptr) return rows;
    rows.alpha = alpha_->rows(rows.count);
    const Samples lower = alpha_rest_ == nullptr ? Samples() : alpha_rest_->rows(rows.count);
    if (left_ == 0)
        for (Alpha* part : {alpha_.get(), alpha_rest_.get()})
            if (part != nullptr) part->finish();
    if (!view_.deep) return rows;
    rows.deep_alpha = widened(rows.alpha);
    for (std::size_t i = 0; i < lower.size(); ++i)
        rows.deep_alpha[i] = static_cast<std::uint16_t>(rows.alpha[i] << 8 | lower[i]);
    return rows;
}

}  // namespace jahp
