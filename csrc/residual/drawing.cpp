// SPDX-License-Identifier: Apache-2.0
#include "residual/drawing.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <unordered_map>

namespace jahp {
namespace {

using Colour = std::uint32_t;

struct Counted {
    Colour colour;
    std::int64_t pixels;
};

int sample(Colour colour, int c) { return static_cast<int>(colour >> 8 * c & 255); }

int distance(Colour a, Colour b) {
    int most = 0;
    for (int c = 0; c < 3; ++c) most = std::max(most, std::abs(sample(a, c) - sample(b, c)));
    return most;
}

// The colours that were kept, by cubes of a side of bound + 1: no two can lie in one, and what is near lies in a cube
// or one that touches it.
class Kept {
public:
    explicit Kept(int bound)
        : bound_(bound), side_(bound + 1), along_(255 / side_ + 3),
          cubes_(static_cast<std::size_t>(along_ * along_ * along_), -1) {}

    // The nearest within the bound, of several the first that was kept; `colour` itself, which is kept now, if none is.
    Colour nearest(Colour colour) {
        const int x = sample(colour, 0) / side_ + 1, y = sample(colour, 1) / side_ + 1,
                  z = sample(colour, 2) / side_ + 1;
        int best = bound_ + 1, first = -1;
        for (int dx = -1; dx <= 1; ++dx)
            for (int dy = -1; dy <= 1; ++dy)
                for (int dz = -1; dz <= 1; ++dz) {
                    const int i = cubes_[at(x + dx, y + dy, z + dz)];
                    if (i < 0) continue;
                    const int far = distance(colours_[static_cast<std::size_t>(i)], colour);
                    if (far > best || (far == best && i > first)) continue;
                    best = far;
                    first = i;
                }
        if (best <= bound_) return colours_[static_cast<std::size_t>(first)];
        cubes_[at(x, y, z)] = static_cast<int>(colours_.size());
        colours_.push_back(colour);
        return colour;
    }

private:
    std::size_t at(int x, int y, int z) const { return static_cast<std::size_t>((x * along_ + y) * along_ + z); }

    int bound_, side_, along_;
    std::vector<int> cubes_;  // with an empty one at both ends of each side
    std::vector<Colour> colours_;
};

// Of each sample of a row the largest difference from those of its pixel's four neighbours, by loops that compilers
// make vectors of.
class Contrasts {
public:
    Contrasts(std::span<const std::uint8_t> pixels, PixelShape shape)
        : pixels_(pixels), n_(static_cast<std::size_t>(shape.channels)),
          row_(n_ * static_cast<std::size_t>(shape.width)), height_(shape.height), most_(row_) {}

    const std::vector<std::uint8_t>& of(int y) {
        const std::uint8_t* now = pixels_.data() + static_cast<std::size_t>(y) * row_;
        const std::uint8_t *above = y > 0 ? now - row_ : now, *below = y + 1 < height_ ? now + row_ : now;
        for (std::size_t i = 0; i < row_; ++i) most_[i] = std::max(apart(now[i], above[i]), apart(now[i], below[i]));
        for (std::size_t i = 0; i + n_ < row_; ++i) most_[i] = std::max(most_[i], apart(now[i], now[i + n_]));
        for (std::size_t i = n_; i < row_; ++i) most_[i] = std::max(most_[i], apart(now[i], now[i - n_]));
        return most_;
    }

private:
    static std::uint8_t apart(std::uint8_t a, std::uint8_t b) {
        return static_cast<std::uint8_t>(a > b ? a - b : b - a);
    }

    std::span<const std::uint8_t> pixels_;
    std::size_t n_, row_;
    int height_;
    std::vector<std::uint8_t> most_;
};

}  // namespace

std::int64_t count_repeated(std::span<const std::uint8_t> pixels, PixelShape shape) {
    const auto n = static_cast<std::size_t>(shape.channels), row = n * static_cast<std::size_t>(shape.width);
    std::int64_t count = 0;
    std::vector<std::uint8_t> same(row);  // by sample: a loop that compilers make vectors of
    for (std::size_t y = 1; y < static_cast<std::size_t>(shape.height); ++y) {
        const std::uint8_t* now = pixels.data() + y * row;
        for (std::size_t i = n; i < row; ++i)
            same[i] = static_cast<std::uint8_t>((now[i] == now[i - n]) & (now[i] == now[i - row]));
        if (n == 1)
            count += std::accumulate(same.begin() + 1, same.end(), std::int64_t{0});
        else
            for (std::size_t i = n; i < row; i += 3) count += same[i] & same[i + 1] & same[i + 2];
    }
    return count;
}

bool is_drawing(std::int64_t repeated, int height, int width) {
    const std::int64_t all = static_cast<std::int64_t>(height - 1) * (width - 1);
    return all > 0 && 4 * repeated >= all;
}

bool one_colour(std::span<const std::uint8_t> pixels, PixelShape shape) {
    return std::equal(pixels.begin() + shape.channels, pixels.end(), pixels.begin());
}

std::vector<std::uint8_t> merge_colours(std::span<const std::uint8_t> pixels, PixelShape shape, int bound, int contrast,
                                        std::span<const std::uint8_t> holes) {
    const auto n = static_cast<std::size_t>(shape.channels);
    const auto colour_of = [&](const std::uint8_t* pixel) {
        Colour colour = 0;
        for (std::size_t c = 0; c < n; ++c) colour = colour << 8 | pixel[c];
        return colour;
    };
    if (bound == 0) return {pixels.begin(), pixels.end()};
    std::unordered_map<Colour, std::int64_t> counts;
    const auto in_hole = [holes](std::size_t pixel) { return !holes.empty() && holes[pixel] != 0; };
    const std::size_t all = pixels.size() / n;
    for (std::size_t i = 0; i < all;) {
        const std::size_t begin = i++;
        if (in_hole(begin)) continue;
        const Colour colour = colour_of(pixels.data() + begin * n);
        while (i < all && !in_hole(i) && colour_of(pixels.data() + i * n) == colour) ++i;
        counts[colour] += static_cast<std::int64_t>(i - begin);
    }
    std::vector<Counted> order;
    order.reserve(counts.size());
    for (const auto& [colour, count] : counts) order.push_back({colour, count});
    std::sort(order.begin(), order.end(), [](const Counted& a, const Counted& b) {
        return a.pixels != b.pixels ? a.pixels > b.pixels : a.colour < b.colour;
    });
    Kept kept(bound);
    std::unordered_map<Colour, Colour> becomes;
    becomes.reserve(order.size());
    for (const Counted& c : order) becomes[c.colour] = kept.nearest(c.colour);
    std::vector<std::uint8_t> out(pixels.begin(), pixels.end());
    Contrasts contrasts(pixels, shape);
    std::size_t pixel = 0;
    for (int y = 0; y < shape.height; ++y) {
        const std::uint8_t* most = contrasts.of(y).data();
        for (int x = 0; x < shape.width; ++x, ++pixel, most += n) {
            if (*std::max_element(most, most + n) < contrast || in_hole(pixel)) continue;
            Colour colour = becomes[colour_of(pixels.data() + pixel * n)];
            for (std::size_t c = n; c-- > 0; colour >>= 8) out[pixel * n + c] = static_cast<std::uint8_t>(colour & 255);
        }
    }
    return out;
}

}  // namespace jahp
