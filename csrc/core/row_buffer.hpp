// SPDX-License-Identifier: Apache-2.0
// The last rows of an activation map, channels last, with zeros around them: what a layer reads of the one before it,
// or what comes out of the last.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/aligned.hpp"

namespace jahp {

enum class Element { u8 = 1, i16 = 2, i32 = 4 };  // and its bytes

class RowBuffer {
public:
    static constexpr int kLeft = 2, kRight = 8;  // columns of zeros: what a tile at the border reads beyond it

    // Kernels work on 16 channels at a time; images, of which few channels are wanted, lie close.
    static int stride_for(int channels) { return channels < 8 ? channels : (channels + 15) / 16 * 16; }

    // Holds the last `capacity` of `height` rows.
    RowBuffer(int height, int width, int channels, int capacity, Element element = Element::i16)
        : height_(height), width_(width), channels_(channels), stride_(stride_for(channels)),
          capacity_(std::min(capacity, height)), element_(element),
          pitch_((static_cast<std::size_t>(kLeft + width + kRight) * static_cast<std::size_t>(stride_) *
                      static_cast<std::size_t>(element) +
                  63) /
                 64 * 64),
          values_(pitch_ * static_cast<std::size_t>(capacity_ + 1)) {}

    int height() const { return height_; }
    int width() const { return width_; }
    int channels() const { return channels_; }
    Element element() const { return element_; }
    std::ptrdiff_t stride() const {
        return stride_;
    }  // values from a column to the next; channels beyond channels() are 0
    int capacity() const { return capacity_; }
    int rows() const { return rows_; }  // written so far
    void add_rows(int count) { rows_ += count; }

    // Column 0 of row r. T is the element's type.
    template <typename T>
    T* row(int r) {
        return reinterpret_cast<T*>(values_.data() + static_cast<std::size_t>(r % capacity_) * pitch_) +
               kLeft * stride_;
    }
    // Rows above and below the map are zeros.
    const std::int16_t* row_or_zeros(int r) const {
        const auto slot = static_cast<std::size_t>(r < 0 || r >= height_ ? capacity_ : r % capacity_);
        return reinterpret_cast<const std::int16_t*>(values_.data() + slot * pitch_) + kLeft * stride_;
    }

private:
    int height_, width_, channels_, stride_, capacity_, rows_ = 0;
    Element element_;
    std::size_t pitch_;  // in bytes
    AlignedVector<std::byte> values_;  // the last row stays 0
};

}  // namespace jahp
