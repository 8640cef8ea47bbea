// SPDX-License-Identifier: Apache-2.0
// Which tensors of a model file an entropy model is made of, by their names without the prefix "entropy."
// (docs/reference/format.md, "Integer tensors"), wherever a program keeps them.
#pragma once

#include "core/entropy_model.hpp"

namespace jahp {

// Fills in the tensors of `t`, whose sizes and kind are set. `source` has get<T>(name), a span, and layer(name), a
// LayerTensors; what they throw is thrown here.
template <typename Source>
void fill_entropy_tensors(EntropyTensors& t, const Source& source) {
    if (t.hyper_latents > 0) {
        for (const char* name : {"h_s.0", "h_s.2", "h_s.4"}) t.h_s.push_back(source.layer(name));
        t.z_offset = source.template get<std::int32_t>("z_offset");
    }
    if (t.context) {
        t.context_prediction.push_back(source.layer("context_prediction"));
        for (const char* name : {"entropy_parameters.0", "entropy_parameters.2", "entropy_parameters.4"})
            t.entropy_parameters.push_back(source.layer(name));
        t.context_mul = source.template get<std::int32_t>("context_input.mul");
        t.context_add = source.template get<std::int32_t>("context_input.add");
        t.context_shift = source.template get<std::int32_t>("context_input.shift");
    }
    t.table_low = source.template get<std::int32_t>("tables.low");
    t.table_size = source.template get<std::int32_t>("tables.size");
    t.table_starts = source.template get<std::uint16_t>("tables.starts");
    if (t.conditional) {
        t.scale_thresholds = source.template get<std::int32_t>("scale.thresholds");
        t.scale_row = source.template get<std::int32_t>("scale.row");
        t.scale_drop = source.template get<std::int32_t>("scale.drop");
    }
}

}  // namespace jahp
