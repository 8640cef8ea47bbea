// SPDX-License-Identifier: Apache-2.0
#include "residual/overlay.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "residual/few_colours.hpp"

namespace jahp {
namespace {

constexpr int kFine = 4;  // fractional bits of a filled sample
constexpr std::int64_t kLeastGain = 2048;  // bits that all holes save: latents cost some by being there

std::size_t at(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }
const std::uint8_t* sample(std::span<const std::uint8_t> of, PixelShape shape, std::size_t pixel) {
    return of.data() + pixel * static_cast<std::size_t>(shape.channels);
}
int halved(int side) { return (side + 1) / 2; }

// A picture by squares, as the latents have it.
class Squares {
public:
    explicit Squares(PixelShape shape)
        : shape_(shape), across_((shape.width - 1) / kSquare + 1),
          count_(at((shape.height - 1) / kSquare + 1, across_)) {}

    std::size_t count() const { return count_; }

    // The sum of value(pixel) over each.
    template <typename Value>
    std::vector<std::int64_t> sums(const Value& value) const {
        std::vector<std::int64_t> sums(count_);
        each([&](std::size_t square, std::size_t pixel, int y, int x) { sums[square] += value(pixel, y, x); });
        return sums;
    }
    // visit(square, pixel, y, x).
    template <typename Visit>
    void each(const Visit& visit) const {
        std::size_t pixel = 0;
        for (int y = 0; y < shape_.height; ++y)
            for (int x = 0; x < shape_.width; ++x, ++pixel)
                visit(at(y / kSquare, across_) + static_cast<std::size_t>(x / kSquare), pixel, y, x);
    }

private:
    PixelShape shape_;
    int across_;
    std::size_t count_;
};

// What the nets' file costs by pixel, as far as one sees.
class Shares {
public:
    Shares(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> coarse, PixelShape shape)
        : pixels_(pixels), coarse_(coarse), shape_(shape) {}

    // A pixel's share of the bits goes by this; 1 at least, so that none is free.
    int busy(std::size_t pixel, int x) const {
        const std::uint8_t* p = sample(coarse_, shape_, pixel);
        int sum = 1;
        for (std::ptrdiff_t n = shape_.channels, c = 0; x > 0 && c < n; ++c) sum += std::abs(p[c] - p[c - n]);
        return sum;
    }
    int error(std::size_t pixel) const {
        const std::uint8_t *p = sample(pixels_, shape_, pixel), *q = sample(coarse_, shape_, pixel);
        int sum = 0;
        for (int c = 0; c < shape_.channels; ++c) sum += (p[c] - q[c]) * (p[c] - q[c]);
        return sum;
    }
    // Of all the bits what one of `busy` has.
    static std::int64_t each(const Trade& trade, PixelShape shape, std::int64_t busy) {
        return (trade.bytes * 8 * shape.channels << 16) / busy;
    }

private:
    std::span<const std::uint8_t> pixels_, coarse_;
    PixelShape shape_;
};

// Makes drawn pixels of holes that have the colour of one beside them, as long as there are such.
void grow_drawn(std::span<const std::uint8_t> pixels, PixelShape shape, std::vector<std::uint8_t>& holes) {
    const std::ptrdiff_t n = shape.channels, width = shape.width;
    std::vector<std::size_t> front;
    for (std::size_t i = 0; i < holes.size(); ++i)
        if (holes[i] == 0) front.push_back(i);
    while (!front.empty()) {
        const std::size_t i = front.back();
        front.pop_back();
        const int y = static_cast<int>(i / static_cast<std::size_t>(width)),
                  x = static_cast<int>(i % static_cast<std::size_t>(width));
        const auto beside = [&](bool inside, std::ptrdiff_t step) {
            if (!inside) return;
            const auto j = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(i) + step);
            const std::uint8_t* pixel = pixels.data() + static_cast<std::ptrdiff_t>(i) * n;
            if (holes[j] == 0 || !std::equal(pixel, pixel + n, pixel + step * n)) return;
            holes[j] = 0;
            front.push_back(j);
        };
        beside(y > 0, -width);
        beside(y + 1 < shape.height, width);
        beside(x > 0, -1);
        beside(x + 1 < shape.width, 1);
    }
}

bool all_alike(const std::vector<std::uint8_t>& holes) {
    return std::all_of(holes.begin(), holes.end(), [&](std::uint8_t hole) { return hole == holes[0]; });
}

// A picture some of whose pixels are known.
struct Level {
    int height, width;
    std::vector<std::uint16_t> values;  // channels last
    std::vector<std::uint8_t> known;
};

// Of the known ones of each square of two pixels the mean.
Level smaller(const Level& from, int channels) {
    Level to{halved(from.height), halved(from.width), {}, {}};
    const auto n = static_cast<std::size_t>(channels);
    to.values.resize(at(to.height, to.width) * n);
    to.known.resize(at(to.height, to.width));
    std::size_t pixel = 0;
    for (int y = 0; y < to.height; ++y)
        for (int x = 0; x < to.width; ++x, ++pixel) {
            std::uint32_t count = 0, sums[3] = {};
            for (int v = 2 * y; v < std::min(2 * y + 2, from.height); ++v)
                for (int u = 2 * x; u < std::min(2 * x + 2, from.width); ++u) {
                    const std::size_t i = at(v, from.width) + static_cast<std::size_t>(u);
                    if (from.known[i] == 0) continue;
                    ++count;
                    for (std::size_t c = 0; c < n; ++c) sums[c] += from.values[i * n + c];
                }
            if (count == 0) continue;
            to.known[pixel] = 1;
            for (std::size_t c = 0; c < n; ++c)
                to.values[pixel * n + c] = static_cast<std::uint16_t>((sums[c] + count / 2) / count);
        }
    return to;
}

// What is not known yet from a smaller picture all of which is: 9, 3, 3 and 1 sixteenths of its four nearest.
void complete(Level& level, const Level& small, int channels) {
    const auto n = static_cast<std::size_t>(channels);
    std::size_t pixel = 0;
    for (int y = 0; y < level.height; ++y)
        for (int x = 0; x < level.width; ++x, ++pixel) {
            if (level.known[pixel] != 0) continue;
            const int v = y / 2, u = x / 2, beside_v = std::clamp(v + (y % 2 == 0 ? -1 : 1), 0, small.height - 1),
                      beside_u = std::clamp(u + (x % 2 == 0 ? -1 : 1), 0, small.width - 1);
            const auto value = [&](int row, int column, std::size_t c) {
                return std::uint32_t{small.values[(at(row, small.width) + static_cast<std::size_t>(column)) * n + c]};
            };
            for (std::size_t c = 0; c < n; ++c)
                level.values[pixel * n + c] = static_cast<std::uint16_t>(
                    (9 * value(v, u, c) + 3 * value(beside_v, u, c) + 3 * value(v, beside_u, c) +
                     value(beside_v, beside_u, c) + 8) >>
                    4);
        }
}

}  // namespace

bool maybe_drawn(std::int64_t repeated, int height, int width) {
    const std::int64_t all = static_cast<std::int64_t>(height - 1) * (width - 1);
    return all > 0 && 8 * repeated >= all;
}

bool partly_flat(std::span<const std::uint8_t> pixels, PixelShape shape) {
    const Squares squares(shape);
    const std::ptrdiff_t n = shape.channels, row = n * shape.width;
    const std::vector<std::int64_t> inner = squares.sums([](std::size_t, int y, int x) { return y > 0 && x > 0; }),
                                    repeated = squares.sums([&](std::size_t pixel, int y, int x) {
                                        const std::uint8_t* p = sample(pixels, shape, pixel);
                                        return y > 0 && x > 0 && std::equal(p, p + n, p - n) &&
                                               std::equal(p, p + n, p - row);
                                    });
    std::size_t flat = 0;
    for (std::size_t i = 0; i < squares.count(); ++i) flat += inner[i] > 0 && 4 * repeated[i] >= 3 * inner[i];
    return 16 * flat >= squares.count();
}

std::vector<std::uint32_t> colour_costs(std::span<const std::uint8_t> pixels, const Strips& strips, int threads) {
    std::vector<std::uint32_t> costs(at(strips.shape.height, strips.shape.width));
    const Strips marks({strips.shape.height, strips.shape.width, 1}, strips.rows);
    strips.each(threads,
                [&](int i) { count_colours(strips.part(i, pixels), strips.of(i), marks.part(i, std::span(costs))); });
    return costs;
}

std::vector<std::uint8_t> choose_holes(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> coarse,
                                       std::span<const std::uint32_t> costs, PixelShape shape, const Trade& trade) {
    const Squares squares(shape);
    const std::ptrdiff_t n = shape.channels;
    const Shares nets(pixels, coarse, shape);
    const auto busy = squares.sums([&](std::size_t pixel, int, int x) { return nets.busy(pixel, x); }),
               errors = squares.sums([&](std::size_t pixel, int, int) { return nets.error(pixel); });
    const std::vector<std::int64_t> drawn = squares.sums(
        [&](std::size_t pixel, int, int) { return std::int64_t{costs[pixel]}; });
    const std::int64_t each = Shares::each(trade, shape, std::accumulate(busy.begin(), busy.end(), std::int64_t{0}));
    std::vector<std::uint8_t> is_hole(squares.count());
    std::int64_t gain = 0;
    for (std::size_t i = 0; i < squares.count(); ++i) {
        const std::int64_t more = (drawn[i] * n << 8) - each * busy[i] - trade.price * errors[i];
        is_hole[i] = more > 0;
        gain += std::max(more, std::int64_t{0});
    }
    if (gain < kLeastGain * n << 16) return {};

    std::vector<std::uint8_t> holes(costs.size());
    squares.each([&](std::size_t square, std::size_t pixel, int, int) { holes[pixel] = is_hole[square]; });
    grow_drawn(pixels, shape, holes);
    if (all_alike(holes)) return {};
    return holes;
}

std::int64_t cost_of_holes(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> coarse,
                           std::span<const std::uint8_t> holes, PixelShape shape, const Trade& trade) {
    const Shares nets(pixels, coarse, shape);
    std::int64_t busy = 0, busy_holes = 0, errors = 0;
    std::size_t pixel = 0;
    for (int y = 0; y < shape.height; ++y)
        for (int x = 0; x < shape.width; ++x, ++pixel) {
            const int now = nets.busy(pixel, x);
            busy += now;
            if (holes[pixel] == 0) continue;
            busy_holes += now;
            errors += nets.error(pixel);
        }
    return Shares::each(trade, shape, busy) * busy_holes + trade.price * errors;
}

std::vector<std::uint8_t> beside_plain(std::span<const std::uint8_t> pixels, PixelShape shape, bool linked) {
    const Squares squares(shape);
    const std::ptrdiff_t n = shape.channels;
    std::vector<const std::uint8_t*> colours(squares.count());
    std::vector<std::uint8_t> mixed(squares.count());
    squares.each([&](std::size_t square, std::size_t pixel, int, int) {
        const std::uint8_t* p = sample(pixels, shape, pixel);
        if (colours[square] == nullptr) colours[square] = p;
        if (!std::equal(p, p + n, colours[square])) mixed[square] = 1;
    });
    std::vector<std::uint8_t> holes(at(shape.height, shape.width));
    squares.each([&](std::size_t square, std::size_t pixel, int, int) { holes[pixel] = mixed[square]; });
    if (linked) grow_drawn(pixels, shape, holes);
    if (all_alike(holes)) return {};
    return holes;
}

std::vector<std::uint8_t> fill_drawn(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> holes,
                                     PixelShape shape) {
    std::vector<Level> levels{{shape.height, shape.width, {}, {holes.begin(), holes.end()}}};
    levels[0].values.reserve(pixels.size());
    for (const std::uint8_t sample : pixels) levels[0].values.push_back(static_cast<std::uint16_t>(sample << kFine));
    const auto whole = [](const Level& level) {
        return std::find(level.known.begin(), level.known.end(), 0) == level.known.end();
    };
    while (!whole(levels.back()) && at(levels.back().height, levels.back().width) > 1)
        levels.push_back(smaller(levels.back(), shape.channels));
    for (std::size_t i = levels.size() - 1; i-- > 0;) complete(levels[i], levels[i + 1], shape.channels);
    std::vector<std::uint8_t> out(pixels.size());
    std::transform(levels[0].values.begin(), levels[0].values.end(), out.begin(), [](std::uint16_t value) {
        return static_cast<std::uint8_t>((value + (1 << (kFine - 1))) >> kFine);
    });
    return out;
}

}  // namespace jahp
