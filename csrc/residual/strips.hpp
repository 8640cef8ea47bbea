// SPDX-License-Identifier: Apache-2.0
// Strips of rows that know nothing of each other: threads share them (docs/reference/format.md, "Layers").
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "residual/exact_pixels.hpp"

namespace jahp {

constexpr int kMostStripRows = 1 << 24;

// Of `rows` rows each, the last with what is left.
struct Strips {
    PixelShape shape;
    int rows;

    // Error(usage) for rows that are not 8, 16, 24 ... kMostStripRows.
    Strips(PixelShape whole, int each);
    int count() const { return (shape.height - 1) / rows + 1; }
    PixelShape of(int i) const { return {std::min(rows, shape.height - i * rows), shape.width, shape.channels}; }
    template <typename T>
    std::span<T> part(int i, std::span<T> pixels) const {
        const std::size_t row = static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels);
        return pixels.subspan(static_cast<std::size_t>(i) * static_cast<std::size_t>(rows) * row,
                              static_cast<std::size_t>(of(i).height) * row);
    }

    // work(strip) of each, on so many threads, 1 to 1024, else Error(usage).
    void each(int threads, const std::function<void(int strip)>& work) const;

    // What `code` makes of each.
    std::vector<std::vector<std::uint8_t>> encode(
        int threads, const std::function<std::vector<std::uint8_t>(int strip)>& code) const;

    // `code` says whether it read a strip's data exactly to their end: Error(format) if one did not. Error(usage) for
    // more or fewer data than strips.
    void decode(std::span<const std::span<const std::uint8_t>> data, int threads,
                const std::function<bool(int strip, std::span<const std::uint8_t> data)>& code) const;
};

}  // namespace jahp
