// SPDX-License-Identifier: Apache-2.0
// Reading safetensors files that nobody vouches for (docs/reference/format.md, "Model file"), as
// jahp_fast.entropy.tensor_file does, with its words.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/aligned.hpp"
#include "library/byte_source.hpp"
#include "library/json_text.hpp"

namespace jahp {

enum class DType { u8, i8, u16, i16, i32, f16, f32 };

const char* dtype_code(DType type);  // as safetensors has it: "U8"
const char* dtype_name(DType type);  // as NumPy has it: "uint8"
std::size_t dtype_size(DType type);

template <typename T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
    if constexpr (std::is_same_v<T, std::int8_t>) return DType::i8;
    if constexpr (std::is_same_v<T, std::uint16_t>) return DType::u16;
    if constexpr (std::is_same_v<T, std::int16_t>) return DType::i16;
    if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
}

// As a NumPy shape is shown: "(2, 3)", "(2,)".
std::string shape_text(const std::vector<std::int64_t>& shape);

// A tensor that was read; its numbers in this machine's order of bytes.
struct Tensor {
    DType type = DType::u8;
    std::vector<std::int64_t> shape;
    AlignedVector<std::uint8_t> bytes;

    // Its numbers, of which T is the type.
    template <typename T>
    std::span<const T> values() const {
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }
};

// Immutable, may be shared between threads.
class TensorFile {
public:
    static constexpr std::uint64_t kMostHeader = 1 << 24;
    static constexpr std::size_t kMostDimensions = 8;

    // Error(model), with `name` in front, for what is no safetensors file or breaks a rule.
    TensorFile(std::unique_ptr<ByteSource> source, std::string name);

    const std::vector<std::string>& names() const { return names_; }  // sorted
    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    // Type and shape as a manifest writes them: "I8 [2,3]". Of one of names(), like what follows.
    std::string kind(const std::string& name) const;
    DType type(const std::string& name) const { return tensors_.at(name).type; }
    // Its bytes as they stand in the file, which `hash` is of, are turned into numbers behind it.
    Tensor read(const std::string& name, std::string& hash) const;

private:
    struct Entry {
        DType type;
        std::vector<std::int64_t> shape;
        std::uint64_t begin, end;
    };
    void require(bool holds, const std::string& what) const;
    void parse(std::span<const std::uint8_t> text);
    Entry entry(const std::string& name, const Json& json) const;
    std::vector<std::int64_t> sizes(const Json& json, std::size_t most, const std::string& said) const;

    std::unique_ptr<ByteSource> source_;
    std::string name_;
    std::uint64_t begin_ = 0;  // of the tensors
    std::vector<std::string> names_;
    std::map<std::string, std::string> metadata_;
    std::map<std::string, Entry> tensors_;
};

}  // namespace jahp
