// SPDX-License-Identifier: Apache-2.0
#include "core/gain_trace.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"
#include "simd/matmul_i16.hpp"

namespace jahp {
namespace {

std::string size_of(int height, int width, int channels) {
    return std::to_string(width) + "x" + std::to_string(height) + " of " + std::to_string(channels) + " channels";
}

}  // namespace

GainTrace::Level::Level(int height, int width, int channels, bool inputs)
    : height_(height), width_(width), channels_(channels),
      padded_((channels + kMatmulBlock - 1) / kMatmulBlock * kMatmulBlock), keeps_inputs_(inputs),
      squares_(static_cast<std::size_t>(height) * static_cast<std::size_t>(width)) {}

void GainTrace::Level::make_room(int end) {
    while (rows() < std::min(end, height_)) {
        if (keeps_inputs_) inputs_.emplace_back(at(width_));
        roots_.emplace_back(at(width_));
    }
}

void GainTrace::Level::forget(int end) {
    for (; first_ < end && !roots_.empty(); ++first_) {
        roots_.pop_front();
        if (keeps_inputs_) inputs_.pop_front();
    }
}

std::size_t GainTrace::Level::at(int column) const {
    return static_cast<std::size_t>(column) * static_cast<std::size_t>(padded_);
}

std::uint16_t* GainTrace::Level::roots(int row, int column) {
    return roots_[static_cast<std::size_t>(row - first_)].data() + at(column);
}

std::int16_t* GainTrace::Level::inputs(int row, int column) {
    return keeps_inputs_ ? inputs_[static_cast<std::size_t>(row - first_)].data() + at(column) : nullptr;
}

std::uint32_t* GainTrace::Level::squares(int row, int column) {
    return squares_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(column);
}

GainTrace::Level& GainTrace::add(int height, int width, int channels) {
    return levels_.emplace_back(height, width, channels, inputs_);
}

GainTrace::Level& GainTrace::claim(int height, int width, int channels) {
    if (claimed_ == levels_.size())
        throw Error(Fault::usage, "a local gain needs a trace of an inverse GDN, and no other is left");
    Level& level = levels_[levels_.size() - 1 - claimed_];
    if (level.height() != height || level.width() != width || level.channels() != channels)
        throw Error(Fault::usage, "a local gain of " + size_of(height, width, channels) + " meets the trace of " +
                                      size_of(level.height(), level.width(), level.channels()));
    ++claimed_;
    return level;
}

}  // namespace jahp
