// SPDX-License-Identifier: Apache-2.0
// Layers from ŷ to pictures at 1/4, 1/8 and 1/16 of their sides, by the tensors `view.*` of a model file, as
// jahp_fast.transforms.small has them, with its checks and its words; there stands how they work.
#pragma once

#include <cstddef>
#include <vector>

#include "library/transform_tensors.hpp"

namespace jahp {

// The scales that are made without the whole picture: those that the model file has heads for.
std::vector<int> headed_scales(const ModelFile& model);

// A layer with its own memory.
struct OwnedLayer {
    std::vector<std::int16_t> weight, gamma;
    std::vector<std::int32_t> bias, beta;
    std::vector<std::uint8_t> shift, after_shift;
    int outputs, inputs, kernel, stride;
    Activation activation;

    ConvTensors tensors(std::size_t number) const;  // views of these; the number is for its name
};

// Layers to small pictures: so many of g_s's common ones, and these behind them.
struct SmallLayers {
    std::size_t begun;
    std::vector<OwnedLayer> layers;
};

// scale: one of headed_scales. Error(model) for a tensor that is missing, has the wrong shape or is out of range.
SmallLayers small_layers(const ModelFile& model, const SynthesisLayers& synthesis, double quality, int scale);

}  // namespace jahp
