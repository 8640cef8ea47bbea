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
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c) *
           static_cast<std::size_t>(d);
}

void check(const ConvTensors& t) {
    const auto refuse = [&](const std::string& what) { throw Error(Fault::model, t.name + ": " + what); };
    if (t.inputs < 1 || t.outputs < 1 || t.inputs > kMostChannels || t.outputs > kMostChannels)
        refuse(std::to_string(t.inputs) + " to " + std::to_string(t.outputs) + " channels; 1 to " +
               std::to_string(kMostChannels) + " are possible");
    if (t.transposed ? t.kernel != 5 || t.stride != 2
                     : (t.kernel != 1 && t.kernel != 3 && t.kernel != 5) || (t.stride != 1 && t.stride != 2))
        refuse("a kernel of " + std::to_string(t.kernel) + " with stride " + std::to_string(t.stride) +
               " is not supported");
    if (t.weight.size() != product(t.inputs, t.outputs, t.kernel, t.kernel) || t.bias.size() != product(t.outputs, 1))
        refuse("weight and bias differ in their channels");
    if (t.gamma.empty() != t.beta.empty() || (!t.gamma.empty() && (t.gamma.size() != product(t.outputs, t.outputs) ||
                                                                   t.beta.size() != product(t.outputs, 1))))
        refuse("gamma and beta of GDN do not have the layer's " + std::to_string(t.outputs) + " channels");
    if (t.steady.size() != t.varying.size() ||
        (!t.steady.empty() && (t.steady.size() != product(t.outputs, 1) || !t.gamma.empty())))
        refuse("a local gain does not have the layer's " + std::to_string(t.outputs) + " channels, or comes with GDN");
}

}  // namespace

Product::Product(int depth, int outputs, const float* weight, Isa isa, Precision precision)
    : depth_(depth), blocks_(padded(outputs) / kMatmulBlock), f32_(matmul_f32_for(isa)), bf16_(matmul_bf16()) {
    const bool narrow = precision == Precision::bf16;
    const int steps = narrow ? (depth + 1) / 2 : depth;
    const MatmulF32Kernel packed{narrow ? kBf16Panel : f32_.panel, nullptr};
    if (narrow)
        pairs_.assign(product(steps, padded(outputs)), 0);
    else
        weight_.assign(product(steps, padded(outputs)), 0);
    for (int k = 0; k < steps; ++k)
        for (int first = 0; first < outputs; first += kMatmulBlock) {  // a block's outputs lie beside one another
            const std::size_t at = packed.pack_index(blocks_, steps, k, first);
            const int n = std::min(kMatmulBlock, outputs - first);
            const float* const from = weight + product(narrow ? 2 * k : k, outputs) + first;
            if (!narrow) {
                std::copy(from, from + n, weight_.data() + at);
                continue;
            }
            for (int o = 0; o < n; ++o)
                pairs_[at + static_cast<std::size_t>(o)] = bf16_pair(from[o],
                                                                     2 * k + 1 < depth ? from[outputs + o] : 0);
        }
}

void Product::run(const float* a, std::ptrdiff_t a_stride, int positions, const float* start, float* c,
                  std::ptrdiff_t c_stride, bool add, LayerScratch& scratch) const {
    if (pairs_.empty()) {
        f32_.run({&a, a_stride, positions, 1, depth_, weight_.data(), blocks_, start, c, c_stride, add});
        return;
    }
    std::uint32_t* const pairs = LayerScratch::grown(scratch.pairs, static_cast<std::size_t>(a_stride / 2 * positions));
    bf16_.narrow(a, a_stride * positions, pairs);
    bf16_.run({pairs, a_stride / 2, positions, (depth_ + 1) / 2, pairs_.data(), blocks_, start, c, c_stride, add});
}

Gdn::Gdn(const ConvTensors& t, Isa isa, Precision precision)
    : active_(!t.gamma.empty()), inverse_(t.inverse), traced_(!t.steady.empty()     ? Traced::reads
                                                              : active_ && inverse_ ? Traced::writes
                                                                                    : Traced::no),
      channels_(t.outputs), padded_(padded(t.outputs)), stride_(RowBuffer::stride_for(t.outputs)),
      kernel_(gdn_for(isa)) {
    steady_.assign(static_cast<std::size_t>(padded_), 0);
    varying_.assign(static_cast<std::size_t>(padded_), 0);
    std::copy(t.steady.begin(), t.steady.end(), steady_.begin());
    std::copy(t.varying.begin(), t.varying.end(), varying_.begin());
    if (!active_) return;
    beta_.assign(static_cast<std::size_t>(padded_), 1);
    std::copy(t.beta.begin(), t.beta.end(), beta_.begin());
    std::vector<float> gamma(product(channels_, channels_));
    for (int o = 0; o < channels_; ++o)
        for (int k = 0; k < channels_; ++k)
            gamma[product(k, channels_) + static_cast<std::size_t>(o)] = t.gamma[product(o, channels_) +
                                                                                 static_cast<std::size_t>(k)];
    gamma_.emplace(channels_, channels_, gamma.data(), isa, precision);
}

void Gdn::run(float* x, int positions, LayerScratch& scratch, GainTrace::Level* level, int row, int column) const {
    const bool local = traced_ == Traced::reads;
    if (!active_ && !local) return;
    float* roots = level != nullptr ? level->roots(row, column) : nullptr;
    float* means = local ? level->squares(row, column) : nullptr;
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
            for (int p = 0; p < n; ++p)
                std::copy(from + p * stride_, from + p * stride_ + channels_, values + p * padded_);
        }
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(n) * padded_;
        if (local) {
            kernel_.local(values, n, padded_, steady_.data(), varying_.data(), roots, means);
            for (int p = 0; p < n; ++p) means[p] /= static_cast<float>(channels_);
            means += n;
        } else {
            kernel_.squares(values, count, squares);
            gamma_->run(squares, padded_, n, beta_.data(), norm, padded_, false, scratch);
            if (roots != nullptr)
                kernel_.multiply_keep(values, count, norm, roots);
            else
                (inverse_ ? kernel_.multiply : kernel_.divide)(values, count, norm);
        }
        if (roots != nullptr) roots += count;
        for (int p = 0; p < n && values != from; ++p)
            std::copy(values + p * padded_, values + p * padded_ + channels_, from + p * stride_);
    }
}

std::vector<std::unique_ptr<TransformLayer>> make_layers(const ConvTensors& t, Isa isa, Precision precision) {
    check(t);
    std::vector<std::unique_ptr<TransformLayer>> layers;
    const bool wide = t.inputs >= 8 && t.outputs >= 8;
    if (wide && t.kernel == 5 && t.stride == 2) {
        layers.push_back(make_winograd_conv(t, isa, precision));
    } else if (!t.transposed) {
        layers.push_back(make_direct_conv(t, isa));
    } else {
        // All 25 products of an input, one after the other, and then the sums of those that meet in an output.
        const int products = 25 * t.outputs;
        std::vector<float> weight(t.weight.size()), bias(static_cast<std::size_t>(products));
        for (int i = 0; i < t.inputs; ++i)
            for (int o = 0; o < t.outputs; ++o)
                for (int k = 0; k < 25; ++k)
                    weight[product(k * t.outputs + o, t.inputs) +
                           static_cast<std::size_t>(i)] = t.weight[product(i * t.outputs + o, 25) +
                                                                   static_cast<std::size_t>(k)];
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
