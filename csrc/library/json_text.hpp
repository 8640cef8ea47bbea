// SPDX-License-Identifier: Apache-2.0
// JSON as model files have it (docs/reference/format.md, "JSON"): that of RFC 8259 in UTF-8, and stricter.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace jahp {

struct Json;
using JsonArray = std::vector<Json>;
using JsonObject = std::vector<std::pair<std::string, Json>>;  // in the order of the text

// A number that was written as an integer; `value` is 0 if that does not hold it, `near` is the nearest of binary64.
struct JsonInteger {
    bool fits = true;
    std::int64_t value = 0;
    double near = 0;
    std::string text;
};

struct Json {
    std::variant<std::nullptr_t, bool, JsonInteger, double, std::string, JsonArray, JsonObject> value = nullptr;

    template <typename T>
    const T* as() const {
        return std::get_if<T>(&value);
    }
    const Json* member(const std::string& name) const;  // null if this is no object, or has none of that name
};

// What is no such JSON, in words that a message goes on with: "is not JSON in UTF-8: " + what().
struct JsonError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Throws JsonError for anything else than one value and white space around it, a byte order mark, a name that stands
// twice in an object, half of a surrogate pair, a number beyond binary64, and more than kMostNesting levels.
constexpr int kMostNesting = 64;
Json parse_json(std::span<const std::uint8_t> text);

// The text in quotes, as Python's ascii() has it: for messages, which are the same there.
std::string quoted(const std::string& text);
// The first `most` characters of it.
std::string quoted(const std::string& text, std::size_t most);

}  // namespace jahp
