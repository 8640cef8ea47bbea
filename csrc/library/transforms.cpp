// SPDX-License-Identifier: Apache-2.0
#include "library/transforms.hpp"

#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "core/scaled.hpp"
#include "simd/gdn.hpp"

namespace jahp {
namespace {

constexpr int kRowsAtOnce = 64;  // of latents, between two calls of a poll

template <typename Out>
void apply(std::span<const std::int32_t> x, const Factors& gain, std::int32_t limit, std::vector<Out>& out) {
    out.resize(x.size());
    scaled<Out>(x, gain.mul, gain.shift, limit, out);
}

// Of what g_s gives: 8 bits, or steps of 1/256 of them.
template <typename T>
T sample(std::int32_t value) {
    if constexpr (std::is_same_v<T, std::uint8_t>) return static_cast<std::uint8_t>(value);
    return static_cast<T>((std::clamp(value, 0, 255 << 8) * 257 + 128) >> 8);
}

std::span<const std::int32_t> rows_of(std::span<const std::int32_t> values, int first, int count, std::size_t pitch) {
    return values.subspan(static_cast<std::size_t>(first) * pitch, static_cast<std::size_t>(count) * pitch);
}

}  // namespace

Synthesis::Synthesis(std::shared_ptr<const TransformNet> net, const Factors& gain, int height, int width)
    : net_(std::move(net)), gain_(gain), height_(height), width_(width),
      stream_(*net_, up(height, kStride), up(width, kStride)) {}

template <typename T>
std::vector<T> Synthesis::push(std::span<const std::int32_t> rows, int threads) {
    using Given = std::conditional_t<std::is_same_v<T, std::uint8_t>, std::uint8_t, std::int32_t>;
    apply(rows, gain_, kActivationLimit, scaled_);
    OutputValues values = net_->no_values();
    stream_.push(scaled_, threads, values);
    const std::vector<Given>& all = std::get<std::vector<Given>>(values);
    const std::size_t wide = product(stream_.output_width(), 3), narrow = product(width_, 3);
    const int count = static_cast<int>(all.size() / wide), kept = std::clamp(height_ - made_, 0, count);
    made_ += count;
    std::vector<T> out(static_cast<std::size_t>(kept) * narrow);
    for (std::size_t row = 0; row < static_cast<std::size_t>(kept); ++row)
        std::transform(all.data() + row * wide, all.data() + row * wide + narrow, out.data() + row * narrow, sample<T>);
    return out;
}
template Samples Synthesis::push(std::span<const std::int32_t>, int);
template DeepSamples Synthesis::push(std::span<const std::int32_t>, int);

std::shared_ptr<const TransformNet> Transforms::net(std::shared_ptr<const TransformNet>& kept,
                                                    Layers (*layers)(const ModelFile&)) {
    const std::scoped_lock lock(mutex_);
    if (kept == nullptr) kept = std::make_shared<const TransformNet>(layers(model_).layers, isa_);
    return kept;
}

std::shared_ptr<const TransformNet> Transforms::g_s(double quality, bool deep) {
    const std::scoped_lock lock(mutex_);
    if (!layers_of_g_s_) layers_of_g_s_.emplace(model_);
    const Key key(layers_of_g_s_->has_tails() ? quality : 0, deep);
    const auto found = std::find_if(g_s_.begin(), g_s_.end(), [&](const auto& kept) { return kept.first == key; });
    if (found != g_s_.end()) {
        g_s_.splice(g_s_.begin(), g_s_, found);
        return g_s_.front().second;
    }
    const SynthesisLayers::Tail tail = layers_of_g_s_->at(quality, deep);
    std::shared_ptr<const TransformNet>& begun = begun_[tail.begun];
    if (begun == nullptr) {
        const std::span<const ConvTensors> common = layers_of_g_s_->common().first(tail.begun);
        begun = std::make_shared<const TransformNet>(
            TransformNet(common.first(1), isa_).followed_by(common.subspan(1)));
    }
    g_s_.emplace_front(key, std::make_shared<const TransformNet>(begun->followed_by(tail.layers)));
    if (g_s_.size() > kNetsKept) g_s_.pop_back();
    return g_s_.front().second;
}

Gain& Transforms::gain(const std::string& name) {
    const std::scoped_lock lock(mutex_);
    const auto found = gains_.find(name);
    return found != gains_.end() ? found->second : gains_.try_emplace(name, model_, name).first->second;
}

std::vector<std::int32_t> Transforms::analysis(const PictureView& picture, std::optional<double> quality, int threads,
                                               const Poll& poll) {
    const int h = up(picture.height, kStride), w = up(picture.width, kStride);
    const std::shared_ptr<const TransformNet> g_a = picture.is_deep() ? net(deep_g_a_, &deep_analysis_layers)
                                                                      : net(g_a_, &analysis_layers);
    TransformStream stream(*g_a, kStride * h, kStride * w);
    std::vector<std::int32_t> y;
    y.reserve(product(h, w, model_.config().latents));
    std::vector<std::int16_t> block;
    for (int row = 0; row < h; row += kLatentRows) {
        poll();
        picture.activations(kStride * row, kStride * std::min(kLatentRows, h - row), kStride * w, block);
        OutputValues values = g_a->no_values();
        stream.push(block, threads, values);
        const std::vector<std::int32_t>& sums = std::get<std::vector<std::int32_t>>(values);
        if (quality) {
            const std::vector<std::int32_t> rows = gained(sums, *quality);
            y.insert(y.end(), rows.begin(), rows.end());
        } else {
            y.insert(y.end(), sums.begin(), sums.end());
        }
    }
    return y;
}

std::vector<std::int32_t> Transforms::gained(std::span<const std::int32_t> sums, double quality) {
    std::vector<std::int32_t> y;
    apply(sums, gain("gain").at(quality), kLatentLimit, y);
    return y;
}

std::vector<std::int32_t> Transforms::hyper_analysis(std::span<const std::int32_t> y, int h, int w, int threads,
                                                     const Poll& poll) {
    const bool sizes = model_.config().architecture == "bmshj2018-hyperprior";
    const std::shared_ptr<const TransformNet> h_a = net(h_a_, &hyper_analysis_layers);
    const Factors& factors = gain("h_a.input").at(0);
    TransformStream stream(*h_a, h, w);
    OutputValues z = h_a->no_values();
    const std::size_t pitch = product(w, model_.config().latents);
    std::vector<std::int32_t> rows;
    std::vector<std::int16_t> block;
    for (int row = 0; row < h; row += kRowsAtOnce) {
        poll();
        const std::span<const std::int32_t> taken = rows_of(y, row, std::min(kRowsAtOnce, h - row), pitch);
        rows.assign(taken.begin(), taken.end());
        if (sizes)
            for (std::int32_t& value : rows) value = std::abs(value);
        apply<std::int16_t>(rows, factors, kActivationLimit, block);
        stream.push(block, threads, z);
    }
    return std::get<std::vector<std::int32_t>>(std::move(z));
}

Synthesis Transforms::synthesis(double quality, int height, int width, bool deep) {
    std::shared_ptr<const TransformNet> net = g_s(quality, deep);
    return {std::move(net), gain("inv_gain").at(quality), height, width};
}

}  // namespace jahp
