// SPDX-License-Identifier: Apache-2.0
#include "core/transform_layer.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int kGdnPositions = 48;  // squares and norms of so many stay in the first-level cache
constexpr int kMostChannels = 4096;

int padded(int channels) { return (channels + kMatmulBlock - 1) / kMatmulBlock * kMatmulBlock; }

std::size_t product(int a, int b, int c = 1, int d = 1) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c) * static_cast<std::size_t>(d);
}

void check(const ConvTensors& t) {
    const auto refuse = [&](const std::string& what) { throw Error(Fault::model, t.name + ": " + what); };
    if (t.inputs < 1 || t.outputs < 1 || t.inputs > kMostChannels || t.outputs > kMostChannels)
        refuse(std::to_string(t.inputs) + " to " + std::to_string(t.outputs) + " channels; 1 to " + std::to_string(kMostChannels) + " are possible");
    if (t.transposed ? t.kernel != 5 || t.stride != 2 : (t.kernel != 1 && t.kernel != 3 && t.kernel != 5) || (t.stride != 1 && t.stride != 2))
        refuse("a kernel of " + std::to_string(t.kernel) + " with stride " + std::to_string(t.stride) + " is not supported");
    if (t.weight.size() != product(t.inputs, t.outputs, t.kernel, t.kernel) || t.bias.size() != product(t.outputs, 1))
        refuse("weight and bias differ in their channels");
    if (t.gamma.empty() != t.beta.empty() || (!t.gamma.empty() && (t.gamma.size() != product(t.outputs, t.outputs) || t.beta.size() != product(t.outputs, 1))))
        refuse("gamma and beta of GDN do not have the layer's " + std::to_string(t.outputs) + " channels");
}

}  // namespace

Gdn::Gdn(const ConvTensors& t, Isa isa)
    : active_(!t.gamma.empty()), inverse_(t.inverse), channels_(t.outputs), padded_(padded(t.outputs)), stride_(RowBuffer::stride_for(t.outputs)),
      matmul_(matmul_f32_for(isa)), kernel_(gdn_for(isa)) {
    if (!active_) return;
    beta_.assign(static_cast<std::size_t>(padded_), 1);
    std::copy(t.beta.begin(), t.beta.end(), beta_.begin());
    gamma_.assign(product(padded_, channels_), 0);
    for (int o = 0; o < channels_; ++o)
        for (int k = 0; k < channels_; ++k)
            gamma_[matmul_.pack_index(padded_ / kMatmulBlock, channels_, k, o)] = t.gamma[product(o, channels_) + static_cast<std::size_t>(k)];
}

void Gdn::run(float* x, int positions, LayerScratch& scratch) const {
    if (!active_) return;
    const std::size_t most = product(kGdnPositions, padded_);
    float* const squares = LayerScratch::grown(scratch.squares, most);
    float* const norm = LayerScratch::grown(scratch.norm, most);
    for (int first = 0; first < positions; first += kGdnPositions) {
        const int n = std::min(kGdnPositions, positions - first);
        float* const from = x + static_cast<std::ptrdiff_t>(first) * stride_;
        float* values = from;
        if (stride_ != padded_) {
            values = LayerScratch::grown(scratch.narrow, most);
            std::fill(values, values + n * padded_, 0.0f);
            for (int p = 0; p < n; ++p) std::copy(from + p * stride_, from + p * stride_ + channels_, values + p * padded_);
        }
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(n) * padded_;
        kernel_.squares(values, count, squares);
        const float* const a = squares;
        matmul_.run({&a, padded_, n, 1, channels_, gamma_.data(), padded_ / kMatmulBlock, beta_.data(), norm, padded_, false});
        (inverse_ ? kernel_.multiply : kernel_.divide)(values, count, norm);
        for (int p = 0; p < n && values != from; ++p) std::copy(values + p * padded_, values + p * padded_ + channels_, from + p * stride_);
    }
}

std::vector<std::unique_ptr<TransformLayer>> make_layers(const ConvTensors& t, Isa isa) {
    check(t);
    std::vector<std::unique_ptr<TransformLayer>> layers;
    const bool wide = t.inputs >= 8 && t.outputs >= 8;
    if (wide && t.kernel == 5 && t.stride == 2) {
        layers.push_back(make_winograd_conv(t, isa));
    } else if (!t.transposed) {
        layers.push_back(make_direct_conv(t, isa));
    } else {
        // All 25 products of an input, one after the other, and then the sums of those that meet in an output.
        const int products = 25 * t.outputs;
        std::vector<float> weight(t.weight.size()), bias(static_cast<std::size_t>(products));
        for (int i = 0; i < t.inputs; ++i)
            for (int o = 0; o < t.outputs; ++o)
                for (int k = 0; k < 25; ++k)
                    weight[product(k * t.outputs + o, t.inputs) + static_cast<std::size_t>(i)] = t.weight[product(i * t.outputs + o, 25) + static_cast<std::size_t>(k)];
        ConvTensors products_of;
        products_of.name = t.name;
        products_of.outputs = products;
        products_of.inputs = t.inputs;
        products_of.kernel = products_of.stride = 1;
        products_of.weight = weight;
        products_of.bias = bias;
        layers.push_back(make_direct_conv(products_of, isa));
        layers.push_back(make_overlap_add(t, isa));
    }
    return layers;
}

}  // namespace jahp
