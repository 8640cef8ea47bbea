// SPDX-License-Identifier: Apache-2.0
// The order in which the positions of y are coded (docs/reference/format.md, "Order of the symbols").
//
// With a k x k causal context, step t holds every position (row, column) with t = column + slope * row, slope = k/2 + 1
// (rounded down): all that a position sees, the furthest being (row - 1, column + k/2), lies in earlier steps. Rows
// ascend within a step. Without context a step is a row.
#pragma once

#include <algorithm>
#include <vector>

namespace jahp {

struct Position {
    int row, column;
};

class Wavefront {
public:
    // slope 0: no context.
    Wavefront(int height, int width, int slope) : height_(height), width_(width), slope_(slope) {}

    int slope() const { return slope_; }
    int steps() const { return slope_ == 0 ? height_ : width_ + slope_ * (height_ - 1); }

    // Replaces `out` by the positions of step t, 0 <= t < steps(). A step may be empty when width < slope.
    void step(int t, std::vector<Position>& out) const {
        out.clear();
        append(t, out);
    }

    // Positions of step t.
    int count(int t) const { return slope_ == 0 ? width_ : std::max(0, last(t) - first(t) + 1); }

    // Rows that are complete once the step of `at` and those before it are done.
    int rows_done(Position at) const {
        const int t = at.column + slope_ * at.row - (width_ - 1);
        return slope_ == 0 ? at.row + 1 : t < 0 ? 0 : std::min(height_, t / slope_ + 1);
    }

    void append(int t, std::vector<Position>& out) const {
        if (slope_ == 0) {
            for (int c = 0; c < width_; ++c) out.push_back({t, c});
            return;
        }
        for (int r = first(t); r <= last(t); ++r) out.push_back({r, t - slope_ * r});
    }

private:
    int first(int t) const { return std::max(0, (t - width_ + slope_) / slope_); }  // the least row with column < width
    int last(int t) const { return std::min(height_ - 1, t / slope_); }

    int height_, width_, slope_;
};

}  // namespace jahp
