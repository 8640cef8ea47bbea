// SPDX-License-Identifier: Apache-2.0
#include "library/tensor_file.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.hpp"
#include "library/joined.hpp"
#include "library/sha256.hpp"

namespace jahp {
namespace {

struct DTypeNames {
    const char* code;
    const char* name;
    std::size_t size;
};
constexpr DTypeNames kTypes[] = {{"U8", "uint8", 1},  {"I8", "int8", 1},     {"U16", "uint16", 2}, {"I16", "int16", 2},
                                 {"I32", "int32", 4}, {"F16", "float16", 2}, {"F32", "float32", 4}};
constexpr const char* kCodes = "U8, I8, U16, I16, I32, F16, F32";

std::optional<DType> parse_dtype(const std::string& code) {
    for (std::size_t i = 0; i < std::size(kTypes); ++i)
        if (code == kTypes[i].code) return static_cast<DType>(i);
    return std::nullopt;
}

// Saturates.
std::uint64_t times(std::uint64_t a, std::uint64_t b) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    return b != 0 && a > kMost / b ? kMost : a * b;
}

}  // namespace

const char* dtype_code(DType type) { return kTypes[static_cast<std::size_t>(type)].code; }
const char* dtype_name(DType type) { return kTypes[static_cast<std::size_t>(type)].name; }
std::size_t dtype_size(DType type) { return kTypes[static_cast<std::size_t>(type)].size; }

std::string shape_text(const std::vector<std::int64_t>& shape) {
    const std::string sizes = joined(shape, ", ", [](std::int64_t size) { return std::to_string(size); });
    return "(" + sizes + (shape.size() == 1 ? ",)" : ")");
}

TensorFile::TensorFile(std::unique_ptr<ByteSource> source, std::string name)
    : source_(std::move(source)), name_(std::move(name)) {
    std::uint8_t bytes[8];
    source_->read(0, bytes);
    std::uint64_t length = 0;
    for (int i = 0; i < 8; ++i) length |= std::uint64_t{bytes[i]} << (8 * i);
    require(length <= std::min(kMostHeader, source_->size() - 8),
            "claims a header of " + std::to_string(length) + " bytes");
    begin_ = 8 + length;
    std::vector<std::uint8_t> text(static_cast<std::size_t>(length));
    source_->read(8, text);
    parse(text);
    for (const auto& [tensor, _] : tensors_) names_.push_back(tensor);
}

void TensorFile::require(bool holds, const std::string& what) const {
    if (!holds) throw Error(Fault::model, name_ + ": is not a safetensors file: " + what);
}

void TensorFile::parse(std::span<const std::uint8_t> text) {
    require(!text.empty() && text[0] == '{', "its header does not start with '{'");
    Json header;
    try {
        header = parse_json(text);
    } catch (const JsonError& e) {
        require(false, std::string("its header is no JSON: ") + e.what());
    }
    if (const Json* metadata = header.member("__metadata__")) {
        const JsonObject* strings = metadata->as<JsonObject>();
        require(
            strings != nullptr && std::all_of(strings->begin(), strings->end(),
                                              [](const auto& pair) { return pair.second.template as<std::string>(); }),
            "its metadata are not strings");
        for (const auto& [key, value] : *strings) metadata_[key] = *value.as<std::string>();
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;
    for (const auto& [tensor, json] : *header.as<JsonObject>()) {
        if (tensor == "__metadata__") continue;
        const Entry& made = tensors_[tensor] = entry(tensor, json);
        spans.emplace_back(made.begin, made.end);
    }
    std::sort(spans.begin(), spans.end());
    std::uint64_t at = 0;
    for (const auto& [begin, end] : spans) {
        require(begin == at, "its tensors overlap, or leave gaps");
        at = end;
    }
    require(begin_ + at == source_->size(), "it has " + std::to_string(source_->size()) +
                                                " bytes, but its header speaks of " + std::to_string(begin_ + at));
}

std::vector<std::int64_t> TensorFile::sizes(const Json& json, std::size_t most, const std::string& said) const {
    const JsonArray* array = json.as<JsonArray>();
    require(array != nullptr && array->size() <= most, said);
    std::vector<std::int64_t> out;
    for (const Json& size : *array) {
        const JsonInteger* number = size.as<JsonInteger>();
        require(number != nullptr && number->fits && number->value >= 0 &&
                    static_cast<std::uint64_t>(number->value) <= source_->size(),
                said);
        out.push_back(number->value);
    }
    return out;
}

TensorFile::Entry TensorFile::entry(const std::string& name, const Json& json) const {
    const std::string shown = quoted(name, 80);
    require(!name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '!' && c <= '~'; }),
            "the name " + shown + " is not made of printable ASCII without spaces");
    const JsonObject* fields = json.as<JsonObject>();
    const Json *dtype = json.member("dtype"), *shape = json.member("shape"), *offsets = json.member("data_offsets");
    require(fields != nullptr && fields->size() == 3 && dtype != nullptr && shape != nullptr && offsets != nullptr,
            shown + " is no tensor");
    const std::string* code = dtype->as<std::string>();
    require(code != nullptr, shown + " has a dtype that is no string");
    const std::optional<DType> type = parse_dtype(*code);
    require(type.has_value(), shown + " has the dtype " + quoted(*code, 40) + ", not one of " + kCodes);
    Entry made{*type, sizes(*shape, kMostDimensions, shown + " has impossible shape"), 0, 0};
    const std::vector<std::int64_t> span = sizes(*offsets, 2, shown + " has impossible offsets");
    require(span.size() == 2, shown + " has impossible offsets");
    made.begin = static_cast<std::uint64_t>(span[0]);
    made.end = static_cast<std::uint64_t>(span[1]);
    bool none = false;  // a size of 0 makes nothing of all others
    std::uint64_t size = dtype_size(*type);
    for (const std::int64_t side : made.shape) {
        none = none || side == 0;
        size = times(size, static_cast<std::uint64_t>(side));
    }
    if (none) size = 0;
    require(made.end >= made.begin && made.end - made.begin == size, shown + " has another size than its shape");
    return made;
}

std::string TensorFile::kind(const std::string& name) const {
    const Entry& entry = tensors_.at(name);
    const std::string sizes = joined(entry.shape, ",", [](std::int64_t size) { return std::to_string(size); });
    return std::string(dtype_code(entry.type)) + " [" + sizes + "]";
}

Tensor TensorFile::read(const std::string& name, std::string& hash) const {
    const Entry& entry = tensors_.at(name);
    Tensor tensor{entry.type, entry.shape,
                  AlignedVector<std::uint8_t>(static_cast<std::size_t>(entry.end - entry.begin))};
    source_->read(begin_ + entry.begin, tensor.bytes);
    hash = hexadecimal(sha256(tensor.bytes));
    if constexpr (std::endian::native == std::endian::big) {
        const std::size_t size = dtype_size(entry.type);
        for (auto at = tensor.bytes.begin(); at != tensor.bytes.end(); at += static_cast<std::ptrdiff_t>(size))
            std::reverse(at, at + static_cast<std::ptrdiff_t>(size));
    }
    return tensor;
}

}  // namespace jahp
