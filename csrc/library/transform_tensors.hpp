// SPDX-License-Identifier: Apache-2.0
// The layers of g_a, h_a and g_s out of a model file (docs/reference/format.md, "From ŷ to pixels"), as
// jahp_fast.transforms.layers has them, with its checks and its words.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/transform_layer.hpp"
#include "library/gains.hpp"
#include "library/model_file.hpp"

namespace jahp {

// Integer tensors whose names begin with a prefix, each checked for its type and shape when it is taken. Names are
// without their group, "transform" or "view". Error(model) with the file's name in front.
class TransformTensors {
public:
    TransformTensors(const ModelFile& model, const std::string& prefix, const char* group = "transform");

    // kAny in `shape`: any size of at least 1. The span lives as long as this.
    template <typename T>
    std::span<const T> take(const std::string& name, const std::vector<std::int64_t>& shape) const {
        return tensor(name, dtype_of<T>(), shape).template values<T>();
    }
    // The first size of a tensor.
    std::int64_t outputs_of(const std::string& name, DType type, const std::vector<std::int64_t>& shape) const {
        return tensor(name, type, shape).shape[0];
    }
    std::span<const std::uint8_t> shift(const std::string& name, std::int64_t channels, int least = 0,
                                        int most = 29) const;
    // Fills in gamma, beta and shift. Error(model) for norms that could be 0, negative or beyond 31 bits.
    void gdn(ConvTensors& layer, const std::string& name, bool inverse) const;

private:
    const Tensor& tensor(const std::string& name, DType type, const std::vector<std::int64_t>& shape) const;
    std::string file_, group_;
    Tensors tensors_;
};

// Layers with the memory that their spans are views of.
struct Layers {
    std::shared_ptr<const TransformTensors> tensors;
    std::vector<ConvTensors> layers;
    std::vector<std::uint8_t> zeros;  // shifts of a layer that has none
    std::vector<std::int32_t> bias;   // of the first layer of deep_analysis_layers, and its shifts
    std::vector<std::uint8_t> shift;
};

Layers analysis_layers(const ModelFile& model);        // g_a
Layers deep_analysis_layers(const ModelFile& model);   // g_a of samples in quarters of a level
Layers hyper_analysis_layers(const ModelFile& model);  // h_a

// g_s at any quality: layers that are the same at all of them, and those whose weights and biases lie between rows.
class SynthesisLayers {
public:
    explicit SynthesisLayers(const ModelFile& model);

    std::span<const ConvTensors> common() const { return layers_.layers; }
    bool has_tails() const { return !tails_.empty(); }

    struct Tail {
        std::size_t begun;  // how many of the common layers come before
        std::vector<std::vector<std::int16_t>> weights;
        std::vector<std::vector<std::int32_t>> biases;
        std::vector<std::uint8_t> shift;
        std::vector<ConvTensors> layers;  // views of these
    };
    // Those behind the common ones; empty if there are none. deep: the last layer gives the bits of fraction of its
    // sums too, samples in steps of 1/256.
    Tail at(double quality, bool deep) const;

private:
    struct Rows {
        ConvTensors layer;
        std::span<const std::int16_t> weights;
        std::span<const std::int32_t> biases;
    };
    ModelConfig config_;
    Layers layers_;
    std::vector<Rows> tails_;
};

}  // namespace jahp
