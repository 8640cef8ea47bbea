// SPDX-License-Identifier: Apache-2.0
#include "core/latent_rows.hpp"

#include <algorithm>
#include <limits>

namespace jahp {
namespace {

bool fits(std::int32_t value) {
    using Narrow = std::numeric_limits<std::int16_t>;
    return value >= Narrow::min() && value <= Narrow::max();
}

}  // namespace

LatentRows::LatentRows(int height, int width, int channels)
    : size_(static_cast<std::size_t>(width) * static_cast<std::size_t>(channels)),
      channels_(static_cast<std::size_t>(channels)), rows_(static_cast<std::size_t>(height)) {}

void LatentRows::put(int row, int column, std::span<const std::int32_t> y) {
    Row& r = rows_[static_cast<std::size_t>(row)];
    const auto at = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(column) * channels_);
    if (r.wide.empty() && std::all_of(y.begin(), y.end(), fits)) {
        if (r.narrow.empty()) r.narrow.resize(size_);
        std::transform(y.begin(), y.end(), r.narrow.begin() + at,
                       [](std::int32_t value) { return static_cast<std::int16_t>(value); });
        return;
    }
    if (r.wide.empty()) {
        r.wide.assign(r.narrow.begin(), r.narrow.end());
        r.wide.resize(size_);
        r.narrow = {};
    }
    std::copy(y.begin(), y.end(), r.wide.begin() + at);
}

void LatentRows::take(int row, std::vector<std::int32_t>& out) {
    Row& r = rows_[static_cast<std::size_t>(row)];
    if (r.wide.empty())
        out.insert(out.end(), r.narrow.begin(), r.narrow.end());
    else
        out.insert(out.end(), r.wide.begin(), r.wide.end());
    r = {};
}

}  // namespace jahp
