// SPDX-License-Identifier: Apache-2.0
#include "residual/few_colours.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "residual/adaptive_bits.hpp"

namespace jahp {
namespace {

constexpr int kGuesses = 6, kPatterns = 128, kPad = 2;
constexpr int kAllEqual = 63;  // a pattern
constexpr std::size_t kSlots = 1 << 16;
constexpr std::uint32_t kUnseen = 0xFFFFFFFF;
constexpr std::uint32_t kHole = 1 << 24;  // in place of a colour

constexpr std::uint32_t kFirstFactor = 0x9E3779B1, kLastFactor = 0x85EBCA77;

// What is around a pixel.
struct Context {
    std::uint32_t w, n, nw, ne, ww, nn, nee;
};

struct Hashes {
    std::uint32_t far, near;
};

// The near one is that of the first four of the far one's colours.
Hashes hashed(const Context& c) {
    std::uint32_t h = 0;
    const auto take = [&h](std::uint32_t colour) {
        h = (h + colour + 1) * kFirstFactor;
        h ^= h >> 15;
    };
    for (const std::uint32_t colour : {c.w, c.n, c.nw, c.ne}) take(colour);
    const std::uint32_t near = h * kLastFactor;
    for (const std::uint32_t colour : {c.ww, c.nn, c.nee}) take(colour);
    return {h * kLastFactor, near};
}

std::uint32_t colour_of(const std::uint8_t* samples, int channels) {
    std::uint32_t colour = 0;
    for (int c = 0; c < channels; ++c) colour = colour << 8 | samples[c];
    return colour;
}

std::uint8_t sample_of(std::uint32_t colour, int channels, int c) {
    return static_cast<std::uint8_t>(colour >> 8 * (channels - 1 - c));
}

struct Models {
    std::array<std::uint32_t, kSlots> seen_far, seen_near;  // the colour that followed
    BitModel by_pattern[kGuesses][kPatterns], by_hash[kSlots];
    Mixer guess[kGuesses];
    BitModel by_left[3][256][256], by_known[3][256][256];  // a tree of 8 bits each
    Mixer sample[3];
    BitModel hole_by_pattern[kPatterns], hole_by_hash[kSlots];
    Mixer hole;
};

template <class Coder>
class Strip {
public:
    // with_holes: whether there may be some.
    Strip(Coder& coder, PixelShape shape, bool with_holes)
        : coder_(coder), shape_(shape), with_holes_(with_holes), models_(std::make_unique<Models>()),
          stride_(static_cast<std::size_t>(shape.width) + 2 * kPad), rows_(3 * stride_, 0) {
        models_->seen_far.fill(kUnseen);
        models_->seen_near.fill(kUnseen);
    }

    // Row y: from colour(x) of an encoder, or 0 of a decoder, and then done(x, colour).
    template <typename Colour, typename Done>
    void row(int y, const Colour& colour, const Done& done) {
        const auto at = [&](int r) { return rows_.data() + static_cast<std::size_t>(r % 3) * stride_ + kPad; };
        std::uint32_t* now = at(y);
        const std::uint32_t *above = at(y + 2), *above2 = at(y + 1);
        const auto around = [&](int x) {
            return Context{now[x - 1], above[x], above[x - 1], above[x + 1], now[x - 2], above2[x], above[x + 2]};
        };
        for (int x = 0; x < shape_.width; ++x) {
            if (flat(around(x))) x = run(x, around(x), now, above, above2, colour, done);
            if (x == shape_.width) return;
            now[x] = pixel(around(x), colour(x));
            done(x, now[x]);
        }
    }

private:
    std::uint8_t part(std::uint32_t colour, int c) const { return sample_of(colour, shape_.channels, c); }

    static bool flat(const Context& c) {
        return ((c.w ^ c.n) | (c.w ^ c.nw) | (c.w ^ c.ne) | (c.w ^ c.ww) | (c.w ^ c.nn) | (c.w ^ c.nee)) == 0;
    }

    // Most pixels of a drawing are of the colour that is all around them, and one guess says so. Codes those from x on
    // that are, as `pixel` would: the same bits by the same models, which are looked up once. Where they end.
    template <typename Colour, typename Done>
    int run(int x, const Context& around, std::uint32_t* now, const std::uint32_t* above, const std::uint32_t* above2,
            const Colour& colour, const Done& done) {
        const std::uint32_t same = around.w;
        if (same != flat_) {
            flat_ = same;
            of_flat_ = hashed(around);
        }
        std::uint32_t& seen_near = models_->seen_near[of_flat_.near >> 16];
        if (models_->seen_far[of_flat_.far >> 16] != same) return x;
        Ones<Coder> ones(coder_, models_->by_pattern[0][kAllEqual], models_->by_hash[of_flat_.far >> 16],
                         models_->guess[0]);
        for (; x < shape_.width && above[x + 2] == same && above2[x] == same; ++x) {
            if ((!Coder::kDecodes && colour(x) != same) || !ones.next()) break;
            now[x] = seen_near = same;
            done(x, same);
        }
        return x;
    }

    std::uint32_t pixel(const Context& around, std::uint32_t wanted) {
        const auto [w, n, nw, ne, ww, nn, nee] = around;
        const auto [far, near] = hashed(around);
        std::uint32_t &seen_far = models_->seen_far[far >> 16], &seen_near = models_->seen_near[near >> 16];
        const int pattern = (w == n) | (n == ne) << 1 | (n == nw) << 2 | (w == nw) << 3 | (w == ww) << 4 |
                            (n == nn) << 5 | (seen_far == kUnseen) << 6;
        const std::uint32_t guesses[kGuesses] = {seen_far, seen_near, w, n, nw, ne};
        std::uint32_t colour = kUnseen;
        for (int i = 0; i < kGuesses && colour == kUnseen; ++i) {
            bool known = guesses[i] == kUnseen;
            for (int j = 0; j < i; ++j) known |= guesses[j] == guesses[i];
            if (known) continue;
            BitModel& by_hash = models_->by_hash[(far + static_cast<std::uint32_t>(i) * kFirstFactor) >> 16];
            if (coder_.code(models_->by_pattern[i][pattern], by_hash, models_->guess[i], guesses[i] == wanted))
                colour = guesses[i];
        }
        if (colour == kUnseen) {
            const bool offered = std::find(guesses, guesses + kGuesses, kHole) != guesses + kGuesses;
            const bool hole = with_holes_ && !offered &&
                              coder_.code(models_->hole_by_pattern[pattern], models_->hole_by_hash[near >> 16],
                                          models_->hole, wanted == kHole);
            colour = hole ? kHole : literal(w, n, wanted);
        }
        seen_far = seen_near = colour;
        return colour;
    }

    std::uint32_t literal(std::uint32_t left, std::uint32_t above, std::uint32_t wanted) {
        std::uint32_t colour = 0, known = 0;
        for (int c = 0; c < shape_.channels; ++c) {
            BitModel* a = models_->by_left[c][part(left, c)];
            BitModel* b = models_->by_known[c][c == 0 ? part(above, 0) : known];
            std::uint32_t node = 1;
            for (int i = 7; i >= 0; --i)
                node = node << 1 | coder_.code(a[node], b[node], models_->sample[c], part(wanted, c) >> i & 1);
            known = node & 255;
            colour = colour << 8 | known;
        }
        return colour;
    }

    Coder& coder_;
    PixelShape shape_;
    bool with_holes_;
    std::unique_ptr<Models> models_;
    std::uint32_t flat_ = kUnseen;  // a colour, and the hashes where it is all around
    Hashes of_flat_{};
    std::size_t stride_;
    std::vector<std::uint32_t> rows_;  // three, in turns, each with kPad zeros at both ends
};

// A strip of `pixels`, all of it or what is no hole, by a coder that encodes; spent(pixel) behind each.
template <class Coder, typename Spent>
void encode(Coder& coder, std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> holes, PixelShape shape,
            const Spent& spent) {
    Strip<Coder> strip(coder, shape, !holes.empty());
    const std::size_t n = static_cast<std::size_t>(shape.channels), width = static_cast<std::size_t>(shape.width);
    for (int y = 0; y < shape.height; ++y) {
        const std::size_t first = static_cast<std::size_t>(y) * width;
        const auto colour = [&](int x) {
            const std::size_t at = first + static_cast<std::size_t>(x);
            return !holes.empty() && holes[at] != 0 ? kHole : colour_of(pixels.data() + at * n, shape.channels);
        };
        strip.row(y, colour, [&](int x, std::uint32_t) { spent(first + static_cast<std::size_t>(x)); });
    }
}

bool decode(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels, bool with_holes) {
    BitDecoder coder(data);
    Strip<BitDecoder> strip(coder, shape, with_holes);
    std::uint8_t* samples = pixels.data();
    for (int y = 0; y < shape.height; ++y) {
        const auto set = [&](int, std::uint32_t colour) {
            if (colour != kHole)
                for (int c = 0; c < shape.channels; ++c) samples[c] = sample_of(colour, shape.channels, c);
            samples += shape.channels;
        };
        strip.row(y, [](int) { return 0u; }, set);
    }
    return coder.complete();
}

}  // namespace

std::vector<std::uint8_t> encode_colours(std::span<const std::uint8_t> pixels, PixelShape shape) {
    return encode_overlay(pixels, {}, shape);
}

std::vector<std::uint8_t> encode_overlay(std::span<const std::uint8_t> pixels, std::span<const std::uint8_t> holes,
                                         PixelShape shape) {
    BitEncoder coder;
    encode(coder, pixels, holes, shape, [](std::size_t) {});
    return coder.finish();
}

void count_colours(std::span<const std::uint8_t> pixels, PixelShape shape, std::span<std::uint32_t> costs) {
    BitCounter coder;
    encode(coder, pixels, {}, shape, [&](std::size_t at) { costs[at] = coder.spent(); });
}

bool decode_colours(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels) {
    return decode(data, shape, pixels, false);
}

bool decode_overlay(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels) {
    return decode(data, shape, pixels, true);
}

}  // namespace jahp
