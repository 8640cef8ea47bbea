// SPDX-License-Identifier: Apache-2.0
#include "library/transforms.hpp"

#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "core/scaled.hpp"
#include "library/small_pictures.hpp"
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

Synthesis::Synthesis(std::shared_ptr<const TransformNet> net, const Factors& gain, const Window& window,
                     const View& cut, std::optional<SquareMeans> means)
    : net_(std::move(net)), gain_(gain), window_(window), cut_(cut), means_(std::move(means)),
      stream_(*net_, window.part.height(), window.part.width()) {}

template <typename T>
std::vector<T> Synthesis::push(std::span<const std::int32_t> rows, int threads) {
    using Given = std::conditional_t<std::is_same_v<T, std::uint8_t>, std::uint8_t, std::int32_t>;
    apply(rows, gain_, kActivationLimit, scaled_);
    OutputValues values = net_->no_values();
    stream_.push(scaled_, threads, values);
    const std::vector<Given>& all = std::get<std::vector<Given>>(values);
    const std::size_t wide = product(stream_.output_width(), 3), narrow = product(cut_.width, 3);
    const std::size_t left = product(window_.left, 3);
    const int count = static_cast<int>(all.size() / wide);
    const int first = std::clamp(window_.top - made_, 0, count);
    const int end = std::clamp(window_.top + cut_.height - made_, 0, count);
    made_ += count;
    std::vector<T> out(static_cast<std::size_t>(end - first) * narrow);
    for (int row = first; row < end; ++row) {
        const Given* from = all.data() + static_cast<std::size_t>(row) * wide + left;
        std::transform(from, from + narrow, out.data() + static_cast<std::size_t>(row - first) * narrow, sample<T>);
    }
    if constexpr (std::is_same_v<T, std::uint8_t>)
        if (means_) return means_->push(out);
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

const SynthesisLayers& Transforms::layers_of_g_s() {
    if (!layers_of_g_s_) layers_of_g_s_.emplace(model_);
    return *layers_of_g_s_;
}

const std::shared_ptr<const TransformNet>& Transforms::beginning(std::size_t count) {
    const std::span<const ConvTensors> common = layers_of_g_s().common();
    for (std::size_t i = begun_.size(); i < count; ++i)  // what comes before is shared
        begun_.push_back(std::make_shared<const TransformNet>(
            i == 0 ? TransformNet(common.first(1), isa_) : begun_.back()->followed_by(common.subspan(i, 1))));
    return begun_[count - 1];
}

SynthesisNet Transforms::g_s(double quality, int scale, bool deep) {
    const std::scoped_lock lock(mutex_);
    const SynthesisLayers& synthesis = layers_of_g_s();
    const Key key(synthesis.has_tails() || scale > 1 ? quality : 0, scale, deep);
    const auto found = std::find_if(g_s_.begin(), g_s_.end(), [&](const auto& kept) { return kept.first == key; });
    if (found != g_s_.end()) {
        g_s_.splice(g_s_.begin(), g_s_, found);
        return g_s_.front().second;
    }
    const auto made = [&](std::size_t begun, std::span<const ConvTensors> behind) {
        SynthesisNet out{std::make_shared<const TransformNet>(beginning(begun)->followed_by(behind)), {}};
        for (const std::span<const ConvTensors> part : {synthesis.common().first(begun), behind})
            for (const ConvTensors& layer : part) out.reaches.push_back({layer.transposed, layer.kernel, layer.stride});
        return out;
    };
    if (scale == 1) {
        const SynthesisLayers::Tail tail = synthesis.at(quality, deep);
        g_s_.emplace_front(key, made(tail.begun, tail.layers));
    } else {
        const SmallLayers small = small_layers(model_, synthesis, quality, scale);
        std::vector<ConvTensors> behind;
        for (const OwnedLayer& layer : small.layers) behind.push_back(layer.tensors(behind.size()));
        g_s_.emplace_front(key, made(small.begun, behind));
    }
    if (g_s_.size() > kNetsKept) g_s_.pop_back();
    return g_s_.front().second;
}

bool Transforms::has_heads(int scale) {
    const std::scoped_lock lock(mutex_);
    layers_of_g_s();
    const std::vector<int> scales = headed_scales(model_);
    return std::find(scales.begin(), scales.end(), scale) != scales.end();
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

Synthesis Transforms::synthesis(double quality, int height, int width, const View& view) {
    const bool averaged = view.scale > 1 && !has_heads(view.scale);
    const View cut = averaged ? view.at_full_size(height, width) : view;
    const int h = up(height, kStride), w = up(width, kStride);
    SynthesisNet made = g_s(quality, cut.scale, cut.deep);
    const Window window = view.partial ? window_of(made.reaches, cut, h, w) : Window{{0, h, 0, w}, 0, 0};
    std::optional<SquareMeans> means;
    if (averaged) means.emplace(cut.height, cut.width, 3, view.scale);
    return {std::move(made.net), gain("inv_gain").at(quality), window, cut, std::move(means)};
}

}  // namespace jahp
