// SPDX-License-Identifier: Apache-2.0
#include "core/scaled.hpp"

#include <limits>
#include <vector>

#include "core/error.hpp"

namespace jahp {
namespace {

void scale_row(const std::int32_t* x, const std::int32_t* mul, const std::int64_t* half, const std::int64_t* shift,
               std::int64_t limit, std::size_t count, std::int32_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        std::int64_t y = (std::int64_t{x[i]} * mul[i] + half[i]) >> shift[i];
        y = y < -limit ? -limit : y;  // without a branch: none could be foreseen
        y = y > limit ? limit : y;
        out[i] = static_cast<std::int32_t>(y);
    }
}

}  // namespace

template <typename Out>
void scaled(std::span<const std::int32_t> x, std::span<const std::int32_t> mul, std::span<const std::uint8_t> shift,
            std::int32_t limit, std::span<Out> out) {
    const std::size_t channels = mul.size();
    if (channels == 0 || shift.size() != channels || x.size() % channels != 0 || out.size() != x.size())
        throw Error(Fault::usage, "values, multipliers and shifts differ in their channels");
    if (limit < 1 || limit > std::numeric_limits<Out>::max()) throw Error(Fault::usage, "the limit is out of range");
    std::vector<std::int64_t> half(channels), by(channels);
    for (std::size_t c = 0; c < channels; ++c) {
        if (shift[c] < 1 || shift[c] > 62) throw Error(Fault::usage, "a shift is not 1 to 62");
        by[c] = shift[c];
        half[c] = std::int64_t{1} << (shift[c] - 1);
    }
    std::vector<std::int32_t> row(channels);  // narrowed apart: compilers find more to do at once
    for (std::size_t i = 0; i < x.size(); i += channels) {
        scale_row(x.data() + i, mul.data(), half.data(), by.data(), limit, channels, row.data());
        for (std::size_t c = 0; c < channels; ++c) out[i + c] = static_cast<Out>(row[c]);
    }
}

template void scaled(std::span<const std::int32_t>, std::span<const std::int32_t>, std::span<const std::uint8_t>,
                     std::int32_t, std::span<std::int16_t>);
template void scaled(std::span<const std::int32_t>, std::span<const std::int32_t>, std::span<const std::uint8_t>,
                     std::int32_t, std::span<std::int32_t>);

}  // namespace jahp
