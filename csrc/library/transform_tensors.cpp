// SPDX-License-Identifier: Apache-2.0
#include "library/transform_tensors.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::int64_t kNormLimit = (std::int64_t{1} << 31) - 1;
constexpr int kLeastGdnShift = 16;  // of GDN in g_a, whose quotient is normalised by up to 2^15
constexpr std::int64_t kQuarters = 1020;  // white, in quarters of a level
constexpr int kMostShift = 29;
constexpr int kPixelBits = 8;       // least shift of g_s's last layer: bits of fraction for deeper samples

}  // namespace

TransformTensors::TransformTensors(const ModelFile& model, const std::string& prefix, const char* group)
    : file_(model.name()), group_(std::string(group) + "."), tensors_(model.read(group_, prefix)) {}

const Tensor& TransformTensors::tensor(const std::string& name, DType type,
                                       const std::vector<std::int64_t>& shape) const {
    const auto found = tensors_.find(name);
    const bool missing = found == tensors_.end();
    const std::string called = file_ + ": tensor " + group_ + name;
    if (missing || !fits_shape(found->second, shape))
        throw Error(Fault::model, called +
                                      (missing ? " is missing" : " has the shape " + shape_text(found->second.shape)) +
                                      "; (" + wanted_shape(shape) + ") is needed");
    if (found->second.type != type)
        throw Error(Fault::model, called + " has the type " + dtype_name(found->second.type) + "; " + dtype_name(type) +
                                      " is needed");
    return found->second;
}

std::span<const std::uint8_t> TransformTensors::shift(const std::string& name, std::int64_t channels, int least,
                                                      int most) const {
    const auto shift = take<std::uint8_t>(name, {channels});
    if (std::any_of(shift.begin(), shift.end(), [&](std::uint8_t s) { return s < least || s > most; }))
        throw Error(Fault::model, file_ + ": tensor " + group_ + name + " has a shift that is not " +
                                      std::to_string(least) + " to " + std::to_string(most));
    return shift;
}

void TransformTensors::gdn(ConvTensors& layer, const std::string& name, bool inverse) const {
    const std::int64_t channels = layer.outputs;
    layer.gamma = take<std::int16_t>(name + ".gamma", {channels, channels});
    layer.beta = take<std::int32_t>(name + ".beta", {channels});
    bool fine = true;
    for (std::size_t o = 0, at = 0; o < layer.beta.size(); ++o) {
        std::int64_t norm = 0;
        for (std::size_t i = 0; i < layer.beta.size(); ++i, ++at) {
            fine = fine && layer.gamma[at] >= 0;
            norm += layer.gamma[at];
        }
        fine = fine && layer.beta[o] >= 1 && norm * 65535 + layer.beta[o] <= kNormLimit;
    }
    if (!fine)
        throw Error(Fault::model, file_ + ": transform." + name +
                                      ": gamma or beta is out of range, or their norm could leave 31 bits");
    layer.after_shift = shift(name + ".shift", channels, inverse ? 1 : kLeastGdnShift, 31);
    layer.activation = inverse ? Activation::inverse_gdn : Activation::gdn;
}

Layers analysis_layers(const ModelFile& model) {
    const auto t = std::make_shared<const TransformTensors>(model, "g_a.");
    Layers out{t, {}, std::vector<std::uint8_t>(static_cast<std::size_t>(model.config().latents)), {}, {}};
    const std::int64_t inner = t->outputs_of("g_a.2.weight", DType::i16, {kAny, kAny, 5, 5});
    std::int64_t inputs = 3;
    for (const int i : {0, 2, 4, 6}) {
        const std::int64_t outputs = i == 6 ? model.config().latents : inner;
        const std::string name = "g_a." + std::to_string(i);
        ConvTensors layer;
        layer.name = "layer " + std::to_string(out.layers.size());
        layer.outputs = static_cast<int>(outputs);
        layer.inputs = static_cast<int>(inputs);
        layer.kernel = 5;
        layer.stride = 2;
        layer.weight = t->take<std::int16_t>(name + ".weight", {outputs, inputs, 5, 5});
        layer.bias = t->take<std::int32_t>(name + ".bias", {outputs});
        if (i == 6) {
            layer.shift = out.zeros;
        } else {
            layer.shift = t->shift(name + ".shift", outputs);
            t->gdn(layer, "g_a." + std::to_string(i + 1), false);
        }
        out.layers.push_back(layer);
        inputs = outputs;
    }
    return out;
}

Layers deep_analysis_layers(const ModelFile& model) {
    Layers out = analysis_layers(model);
    ConvTensors& first = out.layers.front();
    const std::size_t each = first.weight.size() / first.bias.size();
    bool fits = true;
    for (std::size_t o = 0; o < first.bias.size(); ++o) {
        std::int64_t highest = 4 * std::int64_t{first.bias[o]}, lowest = highest;
        for (const std::int16_t weight : first.weight.subspan(o * each, each))
            (weight > 0 ? highest : lowest) += kQuarters * weight;
        fits = fits && std::max(std::abs(highest), std::abs(lowest)) < std::int64_t{1} << 29 &&
               first.shift[o] <= kMostShift - 2;
        out.bias.push_back(static_cast<std::int32_t>(4 * std::int64_t{first.bias[o]}));
        out.shift.push_back(static_cast<std::uint8_t>(first.shift[o] + 2));
    }
    if (!fits)
        throw Error(Fault::model,
                    model.name() + ": its g_a takes samples of 8 bits alone: convert the image to uint8 first");
    first.bias = out.bias;
    first.shift = out.shift;
    return out;
}

Layers hyper_analysis_layers(const ModelFile& model) {
    const auto t = std::make_shared<const TransformTensors>(model, "h_a.");
    Layers out{t, {}, {}, {}, {}};
    const std::int64_t n = model.config().hyper_latents;
    const Activation between = model.config().architecture == "bmshj2018-hyperprior" ? Activation::relu
                                                                                     : Activation::leaky_relu;
    std::int64_t inputs = model.config().latents;
    for (const int i : {0, 2, 4}) {
        const std::string name = "h_a." + std::to_string(i);
        ConvTensors layer;
        layer.name = "layer " + std::to_string(out.layers.size());
        layer.outputs = static_cast<int>(n);
        layer.inputs = static_cast<int>(inputs);
        layer.kernel = i == 0 ? 3 : 5;
        layer.stride = i == 0 ? 1 : 2;
        layer.weight = t->take<std::int16_t>(name + ".weight", {n, inputs, layer.kernel, layer.kernel});
        layer.bias = t->take<std::int32_t>(name + ".bias", {n});
        layer.shift = t->shift(name + ".shift", n);
        layer.activation = i == 4 ? Activation::none : between;
        out.layers.push_back(layer);
        inputs = n;
    }
    return out;
}

SynthesisLayers::SynthesisLayers(const ModelFile& model) : config_(model.config()) {
    const auto t = std::make_shared<const TransformTensors>(model, "g_s.");
    layers_.tensors = t;
    const std::int64_t inner = t->outputs_of("g_s.2.weight", DType::i16, {kAny, kAny, 5, 5});
    const auto rows = static_cast<std::int64_t>(config_.qualities.size());
    std::int64_t inputs = model.config().latents;
    for (const int i : {0, 2, 4, 6}) {
        const std::int64_t outputs = i == 6 ? 3 : inner;
        const bool by_row = i >= 4 && rows > 1;
        const std::string name = "g_s." + std::to_string(i);
        std::vector<std::int64_t> weight{inputs, outputs, 5, 5}, bias{outputs};
        if (by_row) {
            weight.insert(weight.begin(), rows);
            bias.insert(bias.begin(), rows);
        }
        ConvTensors layer;
        // The first is a net of its own, which the others follow.
        layer.name = "layer " + std::to_string(std::max<std::size_t>(layers_.layers.size(), 1) - 1);
        layer.transposed = true;
        layer.outputs = static_cast<int>(outputs);
        layer.inputs = static_cast<int>(inputs);
        layer.kernel = 5;
        layer.stride = 2;
        layer.weight = t->take<std::int16_t>(name + ".weight", weight);
        layer.bias = t->take<std::int32_t>(name + ".bias", bias);
        layer.shift = t->shift(name + ".shift", outputs, i == 6 ? kPixelBits : 0);
        if (i == 6)
            layer.activation = Activation::pixels;
        else
            t->gdn(layer, "g_s." + std::to_string(i + 1), true);
        if (by_row)
            tails_.push_back({layer, layer.weight, layer.bias});
        else
            layers_.layers.push_back(layer);
        inputs = outputs;
    }
}

SynthesisLayers::Tail SynthesisLayers::at(double quality, bool deep) const {
    Tail tail{layers_.layers.size(), {}, {}, {}, {}};
    const Between place = config_.between(quality);
    for (const Rows& rows : tails_) {
        tail.weights.push_back(mixed(rows.weights, rows.weights.size() / config_.qualities.size(), place));
        tail.biases.push_back(mixed(rows.biases, rows.biases.size() / config_.qualities.size(), place));
    }
    for (std::size_t i = 0; i < tails_.size(); ++i) {
        ConvTensors layer = tails_[i].layer;
        layer.name = "layer " + std::to_string(i);
        layer.weight = tail.weights[i];
        layer.bias = tail.biases[i];
        tail.layers.push_back(layer);
    }
    if (!deep) return tail;
    if (tail.layers.empty()) {
        tail.layers.push_back(layers_.layers.back());
        tail.layers.back().name = "layer 0";
        --tail.begun;
    }
    ConvTensors& last = tail.layers.back();
    for (const std::uint8_t shift : last.shift) tail.shift.push_back(static_cast<std::uint8_t>(shift - kPixelBits));
    last.shift = tail.shift;
    last.activation = Activation::none;
    return tail;
}

}  // namespace jahp
