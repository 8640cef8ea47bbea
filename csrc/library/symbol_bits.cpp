// SPDX-License-Identifier: Apache-2.0
#include "library/symbol_bits.hpp"

#include <algorithm>
#include <cmath>

namespace jahp {
namespace {

constexpr double kEscapeBits = 16, kBitSteps = 4096;
// Factor of the squared errors times the curvature of a latent, in bits: jahp_fast.search.greedy tells why.
constexpr double kTypical = 5;

}  // namespace

SymbolBits::SymbolBits(int prob_bits, const Tensors& entropy) {
    const auto low = entropy.at("tables.low").values<std::int32_t>(),
               size = entropy.at("tables.size").values<std::int32_t>();
    const auto starts = entropy.at("tables.starts").values<std::uint16_t>();
    low_.assign(low.begin(), low.end());
    size_.assign(size.begin(), size.end());
    std::size_t at = 0;
    for (const std::int32_t n : size_) {
        first_.push_back(bits_.size());
        const auto entries = static_cast<std::size_t>(n) + 1;
        bits_.push_back(0);
        for (std::size_t i = 0; i < entries; ++i) {
            const int end = i + 1 < entries ? starts[at + i + 1] : 1 << prob_bits;
            const double rounded = std::nearbyint(std::log2(end - starts[at + i]) * kBitSteps) / kBitSteps;
            bits_.push_back(static_cast<float>(prob_bits - rounded + (i + 1 < entries ? 0 : kEscapeBits)));
        }
        bits_[first_.back()] = bits_.back();
        at += entries;
    }
}

float SymbolBits::of(std::int32_t row, std::int32_t value) const {
    const auto r = static_cast<std::size_t>(row);
    const std::int32_t place = std::clamp(value - low_[r], -1, size_[r]) + 1;
    return bits_[first_[r] + static_cast<std::size_t>(place)];
}

std::vector<std::int32_t> trimmed(const EntropyModel& model, const SymbolBits& bits, const Latents& nearest,
                                  std::span<const std::int32_t> fixed, double rate, int threads, const Poll& poll) {
    const std::vector<Symbol> symbols = symbols_of(model, nearest, threads, poll);
    const auto factor = static_cast<float>(rate);
    std::vector<std::int32_t> out = nearest.y;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::int32_t row = symbols[i].row, value = out[i] - (symbols[i].mean >> model.mean_bits());
        const float now = bits.of(row, value), below = factor * (bits.of(row, value - 1) - now),
                    above = factor * (bits.of(row, value + 1) - now);
        const double slope = 2 * kTypical * (out[i] - double{static_cast<float>(fixed[i]) * 0x1p-8f});
        const double down = below - slope, up = above + slope;
        if (std::min(down, up) < -kTypical) out[i] += down <= up ? -1 : 1;
    }
    return out;
}

}  // namespace jahp
