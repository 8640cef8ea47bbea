// SPDX-License-Identifier: Apache-2.0
#include "library/byte_source.hpp"

#include <algorithm>
#include <vector>

#include "core/error.hpp"

namespace jahp {
namespace {

class Memory : public ByteSource {
public:
    Memory(std::span<const std::uint8_t> data, std::string name)
        : data_(data.begin(), data.end()), name_(std::move(name)) {}
    std::uint64_t size() const override { return data_.size(); }
    void read(std::uint64_t at, std::span<std::uint8_t> out) const override {
        if (at > data_.size() || out.size() > data_.size() - at) throw_early_end(name_);
        std::copy_n(data_.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
    }

private:
    const std::vector<std::uint8_t> data_;
    const std::string name_;
};

}  // namespace

void throw_early_end(const std::string& name) {
    throw Error(Fault::model, name + ": is not a safetensors file: it ends early");
}

std::unique_ptr<ByteSource> memory_source(std::span<const std::uint8_t> data, const std::string& name) {
    return std::make_unique<Memory>(data, name);
}

}  // namespace jahp
