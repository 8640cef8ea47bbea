// SPDX-License-Identifier: Apache-2.0
// What symbols cost, and symbols rounded nearer to their means: for rate control, models of form A alone. As
// jahp_fast.search.bits and Searcher.trimmed of jahp_fast.search.greedy, bit for bit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/context_decoder.hpp"
#include "library/model_check.hpp"

namespace jahp {

// The exact rate of any value of a symbol, out of a model's tables. Immutable.
class SymbolBits {
public:
    SymbolBits(int prob_bits, const Tensors& entropy);

    // Bits of `value` (a symbol less its shift) under a row of the tables, an escape's 16 included.
    float of(std::int32_t row, std::int32_t value) const;

private:
    std::vector<std::int32_t> low_, size_;
    std::vector<std::size_t> first_;  // a row's entries lie between two escapes
    std::vector<float> bits_;
};

// y of the nearest integers, with symbols a step nearer to their distribution's mode where that pays. fixed: y before
// it was rounded, times 2^kLatentBits. rate: factor of the bits in what is minimised. Error(usage) for a symbol beyond
// 32767.
std::vector<std::int32_t> trimmed(const EntropyModel& model, const SymbolBits& bits, const Latents& nearest,
                                  std::span<const std::int32_t> fixed, double rate, int threads, const Poll& poll);

}  // namespace jahp
