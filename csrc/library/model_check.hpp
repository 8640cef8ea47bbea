// SPDX-License-Identifier: Apache-2.0
// What must hold of a model file's integer tensors before any of them is used (docs/reference/format.md, "Model file"),
// as jahp_fast.entropy.check has it, in its order and with its words. The core checks again for itself.
#pragma once

#include <map>
#include <string>

#include "library/model_config.hpp"
#include "library/tensor_file.hpp"

namespace jahp {

using Tensors = std::map<std::string, Tensor>;

constexpr std::int64_t kAny = -1;  // in a shape: any size of at least 1

bool fits_shape(const Tensor& tensor, const std::vector<std::int64_t>& shape);
std::string wanted_shape(const std::vector<std::int64_t>& shape);  // for messages: "2, any"

// All `entropy.*` tensors, by their names without that prefix. Error(model) naming the tensor and what is wrong with
// it.
void check_entropy(const ModelConfig& config, const Tensors& tensors);

// The tensors that a model of this config has, as the core takes them; they have been checked. Views of `tensors`.
EntropyTensors entropy_tensors(const ModelConfig& config, const Tensors& tensors);

}  // namespace jahp
