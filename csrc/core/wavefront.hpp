// SPDX-License-Identifier: Apache-2.0
// The order in which the positions of y are coded (docs/format.md, "Order of the symbols").
//
// With a k x k causal context, step t holds every position (row, column) with t = column + slope * row, slope = k/2 + 1
// (rounded down): all that a position sees, the furthest being (row - 1, column + k/2), lies in earlier steps. Rows ascend
// within a step. Without context a step is a row.
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

    int steps() const { return slope_ == 0 ? height_ : width_ + slope_ * (height_ - 1); }

    // Replaces `out` by the positions of step t, 0 <= t < steps(). A step may be empty when width < slope.
    void step(int t, std::vector<Position>& out) const {
        out.clear();
        append(t, out);
    }

    void append(int t, std::vector<Position>& out) const {
        if (slope_ == 0) {
            for (int c = 0; c < width_; ++c) out.push_back({t, c});
            return;
        }
        const int first = std::max(0, (t - width_ + slope_) / slope_);  // the least row with column < width
        const int last = std::min(height_ - 1, t / slope_);
        for (int r = first; r <= last; ++r) out.push_back({r, t - slope_ * r});
    }

  private:
    int height_, width_, slope_;
};

}  // namespace jahp
