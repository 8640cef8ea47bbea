// SPDX-License-Identifier: Apache-2.0
// A height x width x channels image of activations, channels last, with a border of zeros as wide as the taps that read
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned.hpp"
#include "simd/dot.hpp"

namespace jahp {

class Plane {
public:
    Plane() = default;
    // Rows first, first + 1 ... of an image, `height` of them. Throws Error(usage) if a row is so long that offsets
    // between rows do not fit 32 bits.
    Plane(int height, int width, int channels, int border, const DotKernel& kernel, int first = 0);

    int height() const { return height_; }
    int width() const { return width_; }
    int channels() const { return channels_; }
    int pitch() const {
        return pitch_;
    }  // activations from a position to the next: channels rounded up to 16, zeros between
    int row_pitch() const { return pitch_ * (width_ + 2 * border_); }  // and from a row to the next

    // `row`, which is the image's, and `column` may lie in the border. T is the type of the kernel's activations.
    template <typename T>
    T* at(int row, int column) {
        return reinterpret_cast<T*>(data_.data()) + index(row, column) * static_cast<std::size_t>(pitch_);
    }
    template <typename T>
    const T* at(int row, int column) const {
        return reinterpret_cast<const T*>(data_.data()) + index(row, column) * static_cast<std::size_t>(pitch_);
    }
    const void* raw(int row, int column) const {
        return data_.data() + index(row, column) * static_cast<std::size_t>(pitch_) * element_;
    }
    void* raw(int row, int column) {
        return data_.data() + index(row, column) * static_cast<std::size_t>(pitch_) * element_;
    }

    // -128 * (sum of the activations) of each position, for kernels with biased weights: summarise() after writing
    // them.
    bool has_sums() const { return !sums_.empty(); }
    std::int32_t& sum(int row, int column) { return sums_[index(row, column)]; }
    const std::int32_t& sum(int row, int column) const { return sums_[index(row, column)]; }

    // Of a row's positions first, first + step ... , `count` of them.
    void summarise(int row, int first, int step, int count, const DotKernel& kernel);

private:
    std::size_t index(int row, int column) const {
        return static_cast<std::size_t>(row - first_ + border_) * static_cast<std::size_t>(width_ + 2 * border_) +
               static_cast<std::size_t>(column + border_);
    }

    int height_ = 0, width_ = 0, channels_ = 0, pitch_ = 0, border_ = 0, first_ = 0;
    std::size_t element_ = 1;
    AlignedVector<std::uint8_t> data_;
    std::vector<std::int32_t> sums_;
};

}  // namespace jahp
