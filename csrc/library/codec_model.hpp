// SPDX-License-Identifier: Apache-2.0
// A model file in use: what decoders and encoders need of it, made when it is first needed, and kept.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "core/context_decoder.hpp"
#include "library/container.hpp"
#include "library/model_file.hpp"
#include "library/symbol_bits.hpp"
#include "library/transforms.hpp"

namespace jahp {

// May be shared between threads. Error(model) from whatever needs a tensor that is not as it should be.
class CodecModel {
public:
    CodecModel(std::unique_ptr<ByteSource> source, const std::string& name, Isa isa = best_isa())
        : file_(std::move(source), name), isa_(isa), transforms_(file_, isa) {}

    const ModelFile& file() const { return file_; }
    const ModelConfig& config() const { return file_.config(); }
    Transforms& transforms() { return transforms_; }
    const EntropyModel& entropy();
    const SymbolBits& bits();

    // The layout of a file's payload. Error(format) for a quality that the model does not have, and for a damaged map
    // of copies.
    StreamLayout layout(const Stream& stream) const;

private:
    const ModelFile file_;
    const Isa isa_;
    Transforms transforms_;
    std::mutex mutex_;
    std::unique_ptr<const EntropyModel> entropy_;
    std::unique_ptr<const SymbolBits> bits_;
};

}  // namespace jahp
