// SPDX-License-Identifier: Apache-2.0
#include "library/view.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"
#include "library/transforms.hpp"

namespace jahp {
namespace {

void require(bool holds, const std::string& what) {
    if (!holds) throw Error(Fault::usage, what);
}

std::string text(std::int64_t value) { return std::to_string(value); }

void check(const Region& r, int height, int width) {
    require(r.width >= 1 && r.height >= 1, "a region of " + text(r.width) + " x " + text(r.height) +
                                               " pixels is empty; its width and height must be at least 1");
    const auto inside = [](std::int64_t first, std::int64_t size, int all) {
        return first >= 0 && size <= all && first <= all - size;
    };
    require(inside(r.left, r.width, width) && inside(r.top, r.height, height),
            "region (" + text(r.left) + ", " + text(r.top) + ", " + text(r.width) + ", " + text(r.height) +
                ") is not inside of the picture's " + text(width) + " x " + text(height) + " pixels");
}

}  // namespace

View View::at_full_size(int picture_height, int picture_width) const {
    const int first_row = top * scale, first_column = left * scale;
    return {1,
            first_row,
            first_column,
            std::min(height * scale, picture_height - first_row),
            std::min(width * scale, picture_width - first_column),
            true,
            false};
}

View whole_view(int height, int width, bool deep) { return {1, 0, 0, height, width, false, deep}; }

View view_of(int height, int width, std::int64_t scale, const Region* region, bool deep) {
    require(scale == 1 || scale == 2 || scale == 4 || scale == 8 || scale == 16,
            "scale must be 1, 2, 4, 8 or 16, not " + text(scale));
    const Region all{0, 0, width, height}, wanted = region == nullptr ? all : *region;
    check(wanted, height, width);
    const int by = static_cast<int>(scale), top = static_cast<int>(wanted.top), left = static_cast<int>(wanted.left);
    const int down = static_cast<int>(wanted.height), across = static_cast<int>(wanted.width);
    const int first_row = top / by, first_column = left / by;
    return {by,
            first_row,
            first_column,
            up(top + down, by) - first_row,
            up(left + across, by) - first_column,
            by > 1 || down != height || across != width,
            deep && by == 1};
}

std::pair<int, int> seen(std::span<const Reach> layers, int first, int end) {
    for (std::size_t i = layers.size(); i-- > 0;) {
        const Reach& layer = layers[i];
        if (layer.transposed) {  // output r reads inputs i with r = 2 i + a - 2 for an a of 0 to 4
            first = (first - 1) >> 1;
            end = ((end + 1) >> 1) + 1;
        } else {
            first = first * layer.stride - layer.kernel / 2;
            end = (end - 1) * layer.stride + layer.kernel / 2 + 1;
        }
    }
    return {first, end};
}

Window window_of(std::span<const Reach> layers, const View& view, int h, int w) {
    const auto [top, bottom] = seen(layers, view.top, view.top + view.height);
    const auto [left, right] = seen(layers, view.left, view.left + view.width);
    const LatentWindow part{std::max(top, 0), std::min(bottom, h), std::max(left, 0), std::min(right, w)};
    const int grown = kStride / view.scale;
    return {part, view.top - part.top * grown, view.left - part.left * grown};
}

SquareMeans::SquareMeans(int height, int width, int channels, int scale)
    : height_(height), width_(width), channels_(channels), scale_(scale), sums_(product(up(width, scale), channels)) {}

Samples SquareMeans::push(std::span<const std::uint8_t> rows) {
    Samples out;
    const std::size_t pitch = product(width_, channels_);
    for (std::size_t at = 0; at < rows.size(); at += pitch) {
        add(rows.subspan(at, pitch));
        if (held_ == scale_ || taken_ == height_) finish(out);
    }
    return out;
}

void SquareMeans::add(std::span<const std::uint8_t> row) {
    const auto n = static_cast<std::size_t>(channels_), each = n * static_cast<std::size_t>(scale_);
    for (std::size_t at = 0, square = 0; at < row.size(); at += each, square += n)
        for (std::size_t i = 0, left = std::min(each, row.size() - at); i < left; i += n)
            for (std::size_t c = 0; c < n; ++c) sums_[square + c] += row[at + i + c];
    ++held_;
    ++taken_;
}

void SquareMeans::finish(Samples& out) {
    const int columns = up(width_, scale_);
    std::size_t at = 0;
    for (int column = 0; column < columns; ++column) {
        const auto count = static_cast<std::uint32_t>(held_ * std::min(scale_, width_ - column * scale_));
        for (int c = 0; c < channels_; ++c, ++at)
            out.push_back(static_cast<std::uint8_t>((sums_[at] + count / 2) / count));
    }
    std::fill(sums_.begin(), sums_.end(), 0u);
    held_ = 0;
}

}  // namespace jahp
