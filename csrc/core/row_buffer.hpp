// SPDX-License-Identifier: Apache-2.0
// The last rows of an activation map, float32, channels last, with zeros around them: what a layer reads of the one
// before it.
#pragma once

#include <algorithm>
#include <cstddef>

#include "core/aligned.hpp"

namespace jahp {

class RowBuffer {
public:
    static constexpr int kLeft = 2, kRight = 8;  // columns of zeros: what a tile at the border reads beyond it

    // Kernels work on 16 channels at a time; images, of which few channels are wanted, lie close.
    static int stride_for(int channels) { return channels < 8 ? channels : (channels + 15) / 16 * 16; }

    // Holds the last `capacity` of `height` rows.
    RowBuffer(int height, int width, int channels, int capacity)
        : height_(height), width_(width), channels_(channels), stride_(stride_for(channels)),
          capacity_(std::min(capacity, height)),
          pitch_((static_cast<std::size_t>(kLeft + width + kRight) * static_cast<std::size_t>(stride_) + 15) / 16 * 16),
          values_(pitch_ * static_cast<std::size_t>(capacity_ + 1)) {}

    int height() const { return height_; }
    int width() const { return width_; }
    int channels() const { return channels_; }
    std::ptrdiff_t stride() const {
        return stride_;
    }  // floats from a column to the next; channels beyond channels() are 0
    int capacity() const { return capacity_; }
    int rows() const { return rows_; }  // written so far
    void add_rows(int count) { rows_ += count; }

    // Column 0 of row r.
    float* row(int r) { return values_.data() + offset(r % capacity_); }
    // Rows above and below the map are zeros.
    const float* row_or_zeros(int r) const {
        return values_.data() + offset(r < 0 || r >= height_ ? capacity_ : r % capacity_);
    }

private:
    std::size_t offset(int slot) const {
        return static_cast<std::size_t>(slot) * pitch_ + static_cast<std::size_t>(kLeft * stride_);
    }

    int height_, width_, channels_, stride_, capacity_, rows_ = 0;
    std::size_t pitch_;
    AlignedVector<float> values_;  // the last row stays 0
};

}  // namespace jahp
