// SPDX-License-Identifier: Apache-2.0
// What a caller wants to see of a picture: a part of it, and at which scale, as jahp_fast.files.view and
// jahp_fast.transforms.window have it (docs/reference/format.md, "Parts and small pictures").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/latent_decode.hpp"
#include "library/picture.hpp"

namespace jahp {

// In pixels of the picture at full size.
struct Region {
    std::int64_t left, top, width, height;
};

// A rectangle of a picture whose sides are divided by a scale, rounded up.
struct View {
    int scale;  // 1, 2, 4, 8 or 16
    int top, left, height, width;  // in pixels of the small picture; at least one, and inside of it
    bool partial;  // less than the picture itself, so that nothing can be held to a checksum of its pixels
    bool deep;  // of 16 bits, which scale 1 alone has

    // The same rectangle of the picture of that size.
    View at_full_size(int picture_height, int picture_width) const;
};

View whole_view(int height, int width, bool deep);

// Of a picture of that size; region: null is all of it, and at a scale all pixels of the small picture that it touches.
// Error(usage) for a scale or a region that there is not, in the words of the Python package.
View view_of(int height, int width, std::int64_t scale, const Region* region, bool deep);

// What one layer reads: a transposed 5x5 convolution of stride 2, or one of kernel x kernel.
struct Reach {
    bool transposed;
    int kernel, stride;
};

// (first, end) of the input rows, or columns, that outputs from `first` to before `end` read; they may lie outside of
// the map.
std::pair<int, int> seen(std::span<const Reach> layers, int first, int end);

// The latents that a view depends on, and where it begins in what a net makes of them alone: other pixels near their
// border are not those of the whole picture.
struct Window {
    LatentWindow part;
    int top, left;
};

// Of a view of what the layers make of h x w latents, a picture at the view's scale.
Window window_of(std::span<const Reach> layers, const View& view, int h, int w);

// Rows of samples, 8 bits, to rows of the means of squares of scale x scale, halves up; at the right and at the bottom
// of what is left of them.
class SquareMeans {
public:
    SquareMeans(int height, int width, int channels, int scale);
    // The next rows, whole ones -> what they complete.
    Samples push(std::span<const std::uint8_t> rows);

private:
    void add(std::span<const std::uint8_t> row);
    void finish(Samples& out);

    const int height_, width_, channels_, scale_;
    int taken_ = 0, held_ = 0;  // rows: of all, and in the sums
    std::vector<std::uint32_t> sums_;
};

}  // namespace jahp
