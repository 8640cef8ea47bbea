// SPDX-License-Identifier: Apache-2.0
#include "library/model_config.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>

#include "core/error.hpp"
#include "library/joined.hpp"
#include "library/json_text.hpp"

namespace jahp {
namespace {

constexpr const char* kArchitectures[] = {"bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean",
                                          "mbt2018-context", "mbt2018"};
// Sorted, as messages list them.
constexpr const char* kFields[] = {"activation_bits", "architecture", "form",      "hyper_latents", "latents",
                                   "mean_bits",       "prob_bits",    "qualities", "z_bits"};

[[noreturn]] void refuse(const std::string& what) { throw Error(Fault::model, what); }

std::string listed(const std::vector<std::string>& names) {
    return "[" + joined(names, ", ", [](const std::string& name) { return quoted(name); }) + "]";
}

void check_fields(const Json& json) {
    const Json* version = json.member("version");
    const JsonInteger* number = version == nullptr ? nullptr : version->as<JsonInteger>();
    if (number == nullptr || !number->fits || number->value != 1) refuse("model config is not of version 1");
    std::vector<std::string> names, wanted(std::begin(kFields), std::end(kFields));
    for (const auto& [name, _] : *json.as<JsonObject>())
        if (name != "version") names.push_back(name);
    std::sort(names.begin(), names.end());
    if (names != wanted) refuse("model config has the fields " + listed(names) + ", not " + listed(wanted));
}

const JsonInteger& integer(const Json& json, const char* name) {
    const JsonInteger* number = json.member(name)->as<JsonInteger>();
    if (number == nullptr) refuse("model config has a field of the wrong type");
    return *number;
}

double number_of(const Json& json) {
    if (const JsonInteger* whole = json.as<JsonInteger>()) return whole->near;
    if (const double* real = json.as<double>()) return *real;
    refuse("model config: qualities must rise");
}

std::vector<double> qualities_of(const JsonArray& array) {
    std::vector<double> qualities;
    for (const Json& quality : array) qualities.push_back(number_of(quality));
    if (std::adjacent_find(qualities.begin(), qualities.end(), std::greater_equal<>()) != qualities.end())
        refuse("model config: qualities must rise");
    if (qualities.front() < 1 || qualities.back() > 8) refuse("model config: qualities must lie in 1 to 8");
    for (const double q : qualities)
        if (std::nearbyint(q * kQualitySteps) / kQualitySteps != q)
            refuse("model config: qualities must be multiples of 1/20, as those of files are");
    return qualities;
}

const std::string& one_of(const Json& json, std::span<const char* const> allowed, const std::string& what) {
    const std::string* text = json.as<std::string>();
    if (text == nullptr || std::find(allowed.begin(), allowed.end(), *text) == allowed.end())
        refuse(what + (text == nullptr ? "what is no string" : quoted(*text)));
    return *text;
}

std::string shown(double value, bool fixed, int precision) {
    char text[64];
#if defined(__EMSCRIPTEN__)  // has no such to_chars, and one locale
    const int length = std::snprintf(text, sizeof text, fixed ? "%.*f" : "%.*g", precision, value);
    return {text, static_cast<std::size_t>(length)};
#else  // not printf's, which goes by the program's locale
    const auto format = fixed ? std::chars_format::fixed : std::chars_format::general;
    return {text, std::to_chars(text, text + sizeof text, value, format, precision).ptr};
#endif
}

}  // namespace

ModelConfig parse_config(std::span<const std::uint8_t> text) {
    Json json;
    try {
        json = parse_json(text);
    } catch (const JsonError& e) {
        refuse(std::string("model config is not JSON in UTF-8: ") + e.what());
    }
    check_fields(json);
    for (const char* name : {"latents", "hyper_latents", "activation_bits", "mean_bits", "z_bits", "prob_bits"})
        integer(json, name);
    const JsonArray* qualities = json.member("qualities")->as<JsonArray>();
    if (qualities == nullptr || qualities->empty()) refuse("model config has a field of the wrong type");
    ModelConfig config;
    config.qualities = qualities_of(*qualities);
    config.architecture = one_of(*json.member("architecture"), kArchitectures, "model config: unknown architecture ");
    constexpr const char* kForms[] = {"A", "B"};
    config.form = one_of(*json.member("form"), kForms, "model config: form must be A or B, not ") == "A" ? Form::a
                                                                                                         : Form::b;
    const auto take = [&](const char* name, std::int64_t low, std::int64_t high) {
        const JsonInteger& number = integer(json, name);
        if (!number.fits || number.value < low || number.value > high)
            refuse(std::string("model config: ") + name + " cannot be " + number.text + " in " + config.architecture);
        return static_cast<int>(number.value);
    };
    const bool hyper = config.architecture != "bmshj2018-factorized" && config.architecture != "mbt2018-context";
    config.latents = take("latents", 1, 4096);
    config.hyper_latents = hyper ? take("hyper_latents", 1, 4096) : take("hyper_latents", 0, 0);
    config.activation_bits = take("activation_bits", 8, 16);
    if (config.activation_bits != 8) config.activation_bits = take("activation_bits", 16, 16);
    config.mean_bits = take("mean_bits", 0, 8);
    config.z_bits = take("z_bits", 0, 8);
    config.prob_bits = take("prob_bits", 15, 16);
    if (config.form == Form::b && !config.means())
        refuse("model config: " + config.architecture + " predicts no means, so its form must be A");
    return config;
}

Between ModelConfig::between(double quality) const {
    if (qualities.size() == 1) return {0, 0, 1};
    const auto found = std::lower_bound(qualities.begin(), qualities.end(), quality) - qualities.begin();
    const std::size_t high = std::clamp<std::size_t>(static_cast<std::size_t>(found), 1, qualities.size() - 1);
    const double low = qualities[high - 1];
    return {high - 1, static_cast<std::int64_t>(std::nearbyint((quality - low) * kQualitySteps)),
            static_cast<std::int64_t>(std::nearbyint((qualities[high] - low) * kQualitySteps))};
}

std::string short_number(double value) { return shown(value, false, 6); }

std::string fixed_number(double value, int places) { return shown(value, true, places); }

}  // namespace jahp
