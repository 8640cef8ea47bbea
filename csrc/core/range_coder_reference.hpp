// SPDX-License-Identifier: Apache-2.0
// The obvious range coder: what docs/reference/format.md says, a line a sentence, 64-bit arithmetic, linear search,
// no tricks. It is the oracle of range_coder.hpp: same payloads, same symbols, same refusals.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cdf.hpp"

namespace jahp {

struct CodedSymbol {
    int lane;
    std::int32_t row;
    std::int32_t value;
    std::int32_t shift;
};

std::vector<std::uint8_t> range_encode_reference(const CdfTables& tables, int lanes,
                                                 std::span<const CodedSymbol> symbols, std::size_t min_bytes);

// Fills in the values of `symbols` (their lanes, rows and shifts given). Throws Error(format) where RangeDecoder does.
void range_decode_reference(const CdfTables& tables, int lanes, std::span<const std::uint8_t> payload,
                            std::span<CodedSymbol> symbols, std::size_t min_bytes);

}  // namespace jahp
