// SPDX-License-Identifier: Apache-2.0
// Probability tables of the range coder, as they stand in a model file (docs/reference/format.md, "Tables").
//
// A row describes one distribution over integers: `size` >= 1 consecutive values from `low` upwards, and after them an
// escape. It has size + 1 cumulative starts; starts[0] = 0, they rise strictly, and the escape ends at 2^prob_bits. So
// every entry, the escape too, has a frequency of at least 1 and at most 2^prob_bits - 1, which fits 16 bits.
//
// Immutable after construction and safe to share between threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/aligned.hpp"
#include "simd/range_decode.hpp"

namespace jahp {

class CdfTables {
public:
    struct Row {
        const std::uint16_t* starts;   // size + 1 entries
        std::int32_t low;
        std::int32_t size;             // also the index of the escape
    };

    // low, size: one entry a row. starts: sum(size + 1) entries. prob_bits: 15 or 16.
    // Throws Error(model) naming the row when anything stated above does not hold.
    CdfTables(int prob_bits, std::span<const std::int32_t> low, std::span<const std::int32_t> size,
              std::span<const std::uint16_t> starts);

    CdfTables(const CdfTables&) = delete;
    CdfTables& operator=(const CdfTables&) = delete;

    int prob_bits() const { return prob_bits_; }
    std::int32_t rows() const { return static_cast<std::int32_t>(rows_.size()); }
    const Row& row(std::int32_t i) const { return rows_[static_cast<std::size_t>(i)]; }

    // The same rows as the decoder's inner loop reads them.
    LinedTables lined() const { return {lined_rows_.data(), prob_bits_}; }

    // Exclusive end of entry k of a row.
    std::uint32_t end(const Row& row, std::int32_t k) const {
        return k == row.size ? std::uint32_t{1} << prob_bits_ : row.starts[k + 1];
    }

private:
    int prob_bits_;
    std::vector<std::uint16_t> starts_;
    std::vector<Row> rows_;
    void make_lines();
    AlignedVector<std::uint16_t> lines_;
    std::vector<LinedRow> lined_rows_;
};

}  // namespace jahp
