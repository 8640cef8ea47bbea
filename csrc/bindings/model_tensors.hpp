// SPDX-License-Identifier: Apache-2.0
// A model file's configuration and tensors, as Python holds them, seen as EntropyTensors.
#pragma once

#include <string>

#include "bindings/arrays.hpp"
#include "core/entropy_tensors.hpp"

namespace jahp::bind {

// tensors: name -> array, as in a model file without the prefix "entropy." (docs/reference/format.md, "Model file").
class TensorDict {
public:
    explicit TensorDict(const py::dict& tensors) : tensors_(tensors) {}

    template <typename T>
    std::span<const T> get(const std::string& name, int dims = 1) const {
        if (!tensors_.contains(name)) throw Error(Fault::model, "tensor " + name + " is missing");
        return view<T>(tensors_[py::str(name)], name.c_str(), dims);
    }

    LayerTensors layer(const std::string& name) const {
        const auto weight = get<std::int8_t>(name + ".weight", 4);
        const py::array array = tensors_[py::str(name + ".weight")];
        if (array.shape(2) != array.shape(3)) throw Error(Fault::model, name + ".weight is not square");
        return {name,
                static_cast<int>(array.shape(0)),
                static_cast<int>(array.shape(1)),
                static_cast<int>(array.shape(2)),
                weight,
                get<std::int32_t>(name + ".bias"),
                get<std::int32_t>(name + ".mul_pos"),
                get<std::int32_t>(name + ".mul_neg"),
                get<std::int32_t>(name + ".shift"),
                get<std::int32_t>(name + ".zero")};
    }

private:
    const py::dict& tensors_;
};

// Views: valid while the arrays of `tensors` live. Throws Error(model) for what is missing, Error(usage) for an array
// of another type.
inline EntropyTensors entropy_tensors(const py::dict& config, const py::dict& tensors) {
    const TensorDict dict(tensors);
    EntropyTensors t;
    t.latents = config["latents"].cast<int>();
    t.hyper_latents = config["hyper_latents"].cast<int>();
    t.conditional = config["conditional"].cast<bool>();
    t.means = config["means"].cast<bool>();
    t.context = config["context"].cast<bool>();
    t.form = config["form"].cast<std::string>() == "A" ? Form::a : Form::b;
    t.activation_bits = config["activation_bits"].cast<int>();
    t.mean_bits = config["mean_bits"].cast<int>();
    t.z_bits = config["z_bits"].cast<int>();
    t.prob_bits = config["prob_bits"].cast<int>();
    fill_entropy_tensors(t, dict);
    return t;
}

}  // namespace jahp::bind
