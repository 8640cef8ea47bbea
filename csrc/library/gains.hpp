// SPDX-License-Identifier: Apache-2.0
// What lies between two of a model's qualities, and the factors of latents (docs/reference/format.md, section 14.3).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "library/model_file.hpp"

namespace jahp {

// Integers t / steps of the way from row `at.row` of `rows`, each of `size` numbers, to the next one, rounded.
template <typename T>
std::vector<T> mixed(std::span<const T> rows, std::size_t size, const Between& at);

// Factors mul / 2^shift by channel.
struct Factors {
    std::vector<std::int32_t> mul;
    std::vector<std::uint8_t> shift;
};

// Of 2^(log / 4096).
Factors multipliers(std::span<const std::int32_t> logs);

// "gain", "inv_gain", or "h_a.input", which is the same at all qualities. Error(model) for a tensor that is not as it
// should be. May be shared between threads.
class Gain {
public:
    Gain(const ModelFile& model, const std::string& name);
    // Made once a quality, and kept.
    const Factors& at(double quality);

private:
    const ModelConfig config_;
    std::size_t channels_, rows_;
    std::vector<std::int32_t> logs_;
    std::mutex mutex_;
    std::map<double, Factors> made_;
};

}  // namespace jahp
