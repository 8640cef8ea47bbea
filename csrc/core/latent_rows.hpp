// SPDX-License-Identifier: Apache-2.0
// Rows of ŷ while a decode makes them, in 16 bits a value unless a row has one that needs more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace jahp {

// A row takes memory from its first value until it is taken. Different rows may be used by different threads.
class LatentRows {
public:
    // Rows of width positions of `channels` values.
    LatentRows(int height, int width, int channels);

    // Writes the values of one position.
    void put(int row, int column, std::span<const std::int32_t> y);

    // Appends a row to `out` and lets it go. All its positions must have been put.
    void take(int row, std::vector<std::int32_t>& out);

    bool wide(int row) const { return !rows_[static_cast<std::size_t>(row)].wide.empty(); }

private:
    struct Row {  // one of them has values, or none
        std::vector<std::int16_t> narrow;
        std::vector<std::int32_t> wide;
    };

    std::size_t size_, channels_;  // values of a row, and of a position
    std::vector<Row> rows_;
};

}  // namespace jahp
