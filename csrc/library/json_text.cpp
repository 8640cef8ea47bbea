// SPDX-License-Identifier: Apache-2.0
#include "library/json_text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

namespace jahp {
namespace {

constexpr const char* kNoJson = "it breaks a rule of RFC 8259, or is not UTF-8";

// Builds the value while the text is read. An event that returns false would end the parse without a word: all throw.
class Builder {
public:
    using number_integer_t = std::int64_t;
    using number_unsigned_t = std::uint64_t;
    using number_float_t = double;
    using string_t = std::string;
    using binary_t = nlohmann::json::binary_t;

    bool null() { return put({nullptr}); }
    bool boolean(bool value) { return put({value}); }
    bool number_integer(std::int64_t value) {
        return put({JsonInteger{true, value, static_cast<double>(value), std::to_string(value)}});
    }
    bool number_unsigned(std::uint64_t value) {
        const bool fits = value <= INT64_MAX;
        return put({JsonInteger{fits, fits ? static_cast<std::int64_t>(value) : 0, static_cast<double>(value),
                                std::to_string(value)}});
    }
    bool number_float(double value, const std::string& text) {
        if (text.find_first_of(".eE") != std::string::npos) return put({value});
        return put({JsonInteger{false, 0, value, text}});
    }
    bool string(std::string& value) { return put({std::move(value)}); }
    bool binary(binary_t&) { return false; }  // never in text

    bool start_object(std::size_t) { return open({JsonObject{}}); }
    bool key(std::string& name) {
        if (!names_.back().insert(name).second) throw JsonError("a name is there twice");
        std::get<JsonObject>(open_.back().value).emplace_back(std::move(name), Json{});
        return true;
    }
    bool end_object() { return close(); }
    bool start_array(std::size_t) { return open({JsonArray{}}); }
    bool end_array() { return close(); }

    bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) {
        throw JsonError(e.id == 406 ? "a number is beyond what 64 bits of floating point hold" : kNoJson);
    }

    Json take() { return std::move(whole_); }

private:
    bool put(Json value) {
        if (open_.empty())
            whole_ = std::move(value);
        else if (auto* array = std::get_if<JsonArray>(&open_.back().value))
            array->push_back(std::move(value));
        else
            std::get<JsonObject>(open_.back().value).back().second = std::move(value);
        return true;
    }
    bool open(Json value) {
        if (open_.size() == kMostNesting) throw JsonError("it is nested too deep");
        open_.push_back(std::move(value));
        names_.emplace_back();
        return true;
    }
    bool close() {
        Json done = std::move(open_.back());
        open_.pop_back();
        names_.pop_back();
        return put(std::move(done));
    }

    Json whole_;
    std::vector<Json> open_;
    std::vector<std::set<std::string>> names_;
};

// The code point at `at`, which moves behind it. The text is UTF-8.
char32_t next_character(const std::string& text, std::size_t& at) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) return lead;
    const int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    char32_t value = lead & (0x3Fu >> more);
    for (int i = 0; i < more && at < text.size(); ++i)
        value = value << 6 | (static_cast<unsigned char>(text[at++]) & 63u);
    return value;
}

}  // namespace

const Json* Json::member(const std::string& name) const {
    const JsonObject* object = as<JsonObject>();
    if (object == nullptr) return nullptr;
    for (const auto& [key, json] : *object)
        if (key == name) return &json;
    return nullptr;
}

Json parse_json(std::span<const std::uint8_t> text) {
    if (text.size() >= 3 && text[0] == 0xEF && text[1] == 0xBB && text[2] == 0xBF) throw JsonError(kNoJson);
    // To the reader a zero is the end of the text, wherever it stands.
    if (std::find(text.begin(), text.end(), 0) != text.end()) throw JsonError(kNoJson);
    Builder builder;
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

std::string quoted(const std::string& text) {
    const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
    std::string out(1, quote);
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = next_character(text, at);
        char escaped[16] = {};
        if (c == static_cast<unsigned char>(quote) || c == '\\') {
            out += '\\';
            out += static_cast<char>(c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
        } else if (c >= 32 && c < 127) {
            out += static_cast<char>(c);
        } else {
            const char* form = c < 256 ? "\\x%02x" : c < 65536 ? "\\u%04x" : "\\U%08x";
            std::snprintf(escaped, sizeof escaped, form, static_cast<unsigned>(c));
            out += escaped;
        }
    }
    return out + quote;
}

std::string quoted(const std::string& text, std::size_t most) {
    std::string out = quoted(text);
    out.resize(std::min(out.size(), most));
    return out;
}

}  // namespace jahp
