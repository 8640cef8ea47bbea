// SPDX-License-Identifier: Apache-2.0
// Exported models (docs/reference/format.md, "Model file"), as jahp_fast.entropy.model_file reads them: config and
// entropy path at once, all other tensors when they are asked for, each against its hash.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "library/model_check.hpp"

namespace jahp {

using ModelId = std::array<std::uint8_t, 8>;

// Immutable, may be shared between threads.
class ModelFile {
public:
    // name: what messages call it. Error(model), with the name in front, for what is no model file.
    ModelFile(std::unique_ptr<ByteSource> source, const std::string& name);

    const std::string& name() const { return name_; }
    std::string stem() const;  // of the name as a path: without folders and its last suffix
    const ModelConfig& config() const { return config_; }
    const ModelId& id() const { return id_; }
    const Tensors& entropy() const { return entropy_; }  // without their prefix

    // The table row of z's first channel in files of a quality: that of the nearest of the model's, of two the higher.
    int z_row(double quality) const;
    // The skip threshold that an encoder takes, of the same of the model's qualities.
    int skip(double quality) const;

    // The tensors whose names start with a group, "transform." or "view.", and the prefix, without the group.
    // Error(model) for one that does not match the manifest.
    Tensors read(const std::string& group, const std::string& prefix) const;
    bool has(const std::string& tensor) const { return hashes_.contains(tensor); }

private:
    std::int32_t at_nearest(const std::string& tensor, double quality) const;  // 0 if there is none
    void list(const std::string& listed, bool views);
    Tensor read_tensor(const std::string& name) const;
    [[noreturn]] void refuse(const std::string& what) const;

    std::string name_;
    TensorFile file_;
    std::map<std::string, std::string> hashes_;  // that the manifest claims
    ModelConfig config_;
    ModelId id_{};
    Tensors entropy_;
};

}  // namespace jahp
