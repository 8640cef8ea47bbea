// SPDX-License-Identifier: Apache-2.0
// What the inverse GDNs of g_s multiplied by, on its way from a stream through g_s, which writes it, to one through the
// adjoint of g_s, which reads it, layers in the opposite order, and forgets it row by row: memory grows with the width
// and with the distance of the two alone.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "core/aligned.hpp"

namespace jahp {

class GainTrace {
public:
    // Of one inverse GDN. Rows are written, and read, from the first to the last; threads may write those that there is
    // room for.
    class Level {
    public:
        // inputs: the values that were multiplied are kept as well.
        Level(int height, int width, int channels, bool inputs);

        int height() const { return height_; }
        int width() const { return width_; }
        int channels() const { return channels_; }
        int rows() const { return first_ + static_cast<int>(roots_.size()); }  // that there is, or has been, room for
        void make_room(int end);  // for rows below `end`
        void forget(int end);  // rows below `end`

        // Roots of norms from a column on, as many values apart from one column to the next as a kernel's padded
        // channels.
        std::uint16_t* roots(int row, int column);
        // What was multiplied by them; null where the trace keeps roots alone.
        std::int16_t* inputs(int row, int column);
        // Sums over the channels of the squares of what the adjoint multiplied by, of which 2^8 is 1; all rows stay.
        std::uint32_t* squares(int row, int column);
        const std::vector<std::uint32_t>& all_squares() const { return squares_; }

    private:
        std::size_t at(int column) const;

        int height_, width_, channels_, padded_, first_ = 0;
        bool keeps_inputs_;
        std::deque<AlignedVector<std::uint16_t>> roots_;  // of row first_ and those below it
        std::deque<AlignedVector<std::int16_t>> inputs_;  // likewise, or none
        std::vector<std::uint32_t> squares_;
    };

    // inputs: levels keep what was multiplied too, as the adjoint of an inverse GDN wants it.
    explicit GainTrace(bool inputs) : inputs_(inputs) {}

    bool inputs() const { return inputs_; }

    // For a stream that writes.
    Level& add(int height, int width, int channels);
    // For one that reads: the last level that nobody has claimed. Error(usage) if there is none, or if it has other
    // sizes.
    Level& claim(int height, int width, int channels);

    const std::deque<Level>& levels() const { return levels_; }

private:
    bool inputs_;
    std::deque<Level> levels_;  // stay where they are
    std::size_t claimed_ = 0;
};

}  // namespace jahp
