// SPDX-License-Identifier: Apache-2.0
#include "library/small_pictures.hpp"

#include <algorithm>
#include <functional>
#include <string>

#include "core/error.hpp"
#include "library/picture.hpp"

namespace jahp {
namespace {

constexpr int kColours = 3;
constexpr int kCarryBits = 4;                    // a carried channel has 16 steps a grey level
constexpr int kLeastShift = 8, kMostShift = 14;  // of a head: a carried channel's weight of 1 has 16 bits
// By which inverse GDN hands a channel on as it is: the root of 2^28 is 2^14.
constexpr std::int32_t kPassBeta = 1 << 28;
constexpr std::uint8_t kPassShift = 14;
constexpr std::size_t kNine = 9, kMiddle = 4;  // weights of a 3x3 kernel

std::size_t as_they_are(int scale) { return scale == 4 ? 2 : 1; }

std::int16_t quarter(std::int32_t sum) { return static_cast<std::int16_t>((sum + 2) >> 2); }

// Of a transposed 5x5 kernel of stride 2: appends the 3x3 one that gives the mean of its 2 x 2 outputs at each input.
void append_mean(const std::int16_t* kernel, std::vector<std::int16_t>& out) {
    static constexpr std::size_t kTo[5] = {2, 2, 1, 1, 0};
    std::int32_t sums[kNine] = {};
    for (std::size_t a = 0; a < 5; ++a)
        for (std::size_t b = 0; b < 5; ++b) sums[3 * kTo[a] + kTo[b]] += kernel[5 * a + b];
    for (const std::int32_t sum : sums) out.push_back(quarter(sum));
}

// Of 3x3 kernels: the 5x5 ones of stride 2 that give the means of their outputs in squares of 2 x 2.
std::vector<std::int16_t> square_means(const std::vector<std::int16_t>& kernels) {
    std::vector<std::int16_t> out;
    for (std::size_t at = 0; at < kernels.size(); at += kNine) {
        std::int32_t sums[25] = {};
        for (std::size_t i = 0; i < kNine; ++i)
            for (const std::size_t to : {6u, 7u, 11u, 12u}) sums[to + i / 3 * 5 + i % 3] += kernels[at + i];
        for (const std::int32_t sum : sums) out.push_back(quarter(sum));
    }
    return out;
}

using Channels = std::vector<std::size_t>;

// A layer's mean over 2 x 2 outputs, of some of its channels alone; `carries`: beside inputs that hand colours on.
OwnedLayer coarse(const ConvTensors& layer, const Channels& inputs, const Channels& outputs, bool carries) {
    const auto all = static_cast<std::size_t>(layer.outputs);
    OwnedLayer out{{},
                   {},
                   {},
                   {},
                   {},
                   {},
                   static_cast<int>(outputs.size()) + kColours,
                   static_cast<int>(inputs.size()) + (carries ? kColours : 0),
                   3,
                   1,
                   Activation::inverse_gdn};
    for (const std::size_t o : outputs) {
        for (const std::size_t i : inputs) append_mean(layer.weight.data() + (i * all + o) * 25, out.weight);
        if (carries) out.weight.resize(out.weight.size() + kColours * kNine);
        for (const std::size_t i : outputs) out.gamma.push_back(layer.gamma[o * all + i]);
        out.gamma.resize(out.gamma.size() + kColours);
        out.bias.push_back(layer.bias[o]);
        out.shift.push_back(layer.shift[o]);
        out.beta.push_back(layer.beta[o]);
        out.after_shift.push_back(layer.after_shift[o]);
    }
    out.gamma.resize(product(out.outputs, out.outputs));
    out.bias.resize(static_cast<std::size_t>(out.outputs));
    out.beta.resize(static_cast<std::size_t>(out.outputs), kPassBeta);
    out.after_shift.resize(static_cast<std::size_t>(out.outputs), kPassShift);
    return out;
}

// What a stage adds to red, green and blue: (3, channels, 3, 3), and a shift each.
struct Head {
    std::vector<std::int16_t> weight;
    std::span<const std::uint8_t> shift;
};

// Appends a head to a layer as the last of its outputs, with what hands on the carried channels, without so many of
// their bits.
void append(const Head& head, bool carries, int bits, OwnedLayer& layer) {
    const std::size_t each = head.weight.size() / kColours;
    for (std::size_t colour = 0; colour < kColours; ++colour) {
        const auto from = head.weight.begin() + static_cast<std::ptrdiff_t>(colour * each);
        layer.weight.insert(layer.weight.end(), from, from + static_cast<std::ptrdiff_t>(each));
        layer.shift.push_back(head.shift[colour]);
        if (!carries) continue;
        const std::size_t at = layer.weight.size();
        layer.weight.resize(at + kColours * kNine);
        layer.weight[at + colour * kNine + kMiddle] = static_cast<std::int16_t>(1 << (head.shift[colour] - bits));
    }
}

// The tensors of one scale.
class Heads {
public:
    Heads(const ModelFile& model, int scale, double quality)
        : model_(model), tensors_(model, std::to_string(scale) + ".", "view"), prefix_(std::to_string(scale) + "."),
          at_(model.config().between(quality)) {}

    // The channels that a coarse layer keeps of so many.
    Channels kept(std::size_t stage, int channels) const {
        const std::string name = prefix_ + std::to_string(stage) + ".kept";
        const auto taken = tensors_.take<std::uint16_t>(name, {kAny});
        if (taken.back() >= channels ||
            std::adjacent_find(taken.begin(), taken.end(), std::greater_equal<>()) != taken.end())
            throw Error(Fault::model, model_.name() + ": tensor view." + name +
                                          " does not rise, or names a channel that there is not");
        return {taken.begin(), taken.end()};
    }
    Head head(std::size_t stage, std::size_t channels) const {
        const std::string name = prefix_ + std::to_string(stage);
        return {mixed_row<std::int16_t>(name + ".weight", {kColours, static_cast<std::int64_t>(channels), 3, 3}),
                tensors_.shift(name + ".shift", kColours, kLeastShift, kMostShift)};
    }
    std::vector<std::int32_t> bias() const { return mixed_row<std::int32_t>(prefix_ + "bias", {kColours}); }

private:
    template <typename T>
    std::vector<T> mixed_row(const std::string& name, std::vector<std::int64_t> shape) const {
        const std::size_t rows = model_.config().qualities.size();
        shape.insert(shape.begin(), static_cast<std::int64_t>(rows));
        const std::span<const T> all = tensors_.take<T>(name, shape);
        return rows == 1 ? std::vector<T>(all.begin(), all.end()) : mixed<T>(all, all.size() / rows, at_);
    }

    const ModelFile& model_;
    const TransformTensors tensors_;
    const std::string prefix_;
    const Between at_;
};

Channels first(int count) {
    Channels out;
    for (int i = 0; i < count; ++i) out.push_back(static_cast<std::size_t>(i));
    return out;
}

}  // namespace

ConvTensors OwnedLayer::tensors(std::size_t number) const {
    ConvTensors out;
    out.name = "layer " + std::to_string(number);
    out.outputs = outputs;
    out.inputs = inputs;
    out.kernel = kernel;
    out.stride = stride;
    out.weight = weight;
    out.bias = bias;
    out.shift = shift;
    out.activation = activation;
    out.gamma = gamma;
    out.beta = beta;
    out.after_shift = after_shift;
    return out;
}

std::vector<int> headed_scales(const ModelFile& model) {
    std::vector<int> out;
    for (const int scale : {4, 8})
        if (model.has("view." + std::to_string(scale) + ".0.weight")) out.push_back(scale);
    if (!out.empty() && out.back() == 8) out.push_back(16);
    return out;
}

SmallLayers small_layers(const ModelFile& model, const SynthesisLayers& synthesis, double quality, int scale) {
    const int headed = std::min(scale, 8);
    const SynthesisLayers::Tail tail = synthesis.at(quality, false);
    std::vector<ConvTensors> all(synthesis.common().begin(), synthesis.common().end());
    all.insert(all.end(), tail.layers.begin(), tail.layers.end());
    const Heads heads(model, headed, quality);
    SmallLayers out{as_they_are(headed), {}};
    const std::size_t stages = all.size() - 1 - out.begun;
    std::vector<Channels> channels{first(all[out.begun].inputs)};
    for (std::size_t i = 0; i < stages; ++i) channels.push_back(heads.kept(i, all[out.begun + i].outputs));
    std::vector<Head> made;
    for (std::size_t i = 0; i <= stages; ++i) made.push_back(heads.head(i, channels[i].size()));
    for (std::size_t i = 0; i < stages; ++i) {
        out.layers.push_back(coarse(all[out.begun + i], channels[i], channels[i + 1], i > 0));
        append(made[i], i > 0, 0, out.layers.back());
    }
    OwnedLayer last{{}, {}, heads.bias(),      {},
                    {}, {}, kColours,          static_cast<int>(channels.back().size()) + kColours,
                    3,  1,  Activation::pixels};
    append(made.back(), true, kCarryBits, last);
    if (scale == 16) {
        last.weight = square_means(last.weight);
        last.kernel = 5;
        last.stride = 2;
    }
    out.layers.push_back(std::move(last));
    return out;
}

}  // namespace jahp
