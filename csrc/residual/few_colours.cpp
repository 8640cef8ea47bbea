// SPDX-License-Identifier: Apache-2.0
#include "residual/few_colours.hpp"

#include <array>
#include <initializer_list>
#include <memory>

#include "residual/adaptive_bits.hpp"

namespace jahp {
namespace {

constexpr int kGuesses = 6, kPatterns = 128, kPad = 2;
constexpr std::size_t kSlots = 1 << 16;
constexpr std::uint32_t kUnseen = 0xFFFFFFFF;

std::uint32_t hashed(std::initializer_list<std::uint32_t> colours) {
    std::uint32_t h = 0;
    for (const std::uint32_t c : colours) {
        h = (h + c + 1) * 0x9E3779B1u;
        h ^= h >> 15;
    }
    return h * 0x85EBCA77u;
}

struct Models {
    std::array<std::uint32_t, kSlots> seen_far, seen_near;  // the colour that followed
    BitModel by_pattern[kGuesses][kPatterns], by_hash[kSlots];
    Mixer guess[kGuesses];
    BitModel by_left[3][256][256], by_known[3][256][256];  // a tree of 8 bits each
    Mixer sample[3];
};

template <class Coder>
class Strip {
public:
    Strip(Coder& coder, PixelShape shape)
        : coder_(coder), shape_(shape), models_(std::make_unique<Models>()),
          stride_(static_cast<std::size_t>(shape.width) + 2 * kPad), rows_(3 * stride_, 0) {
        models_->seen_far.fill(kUnseen);
        models_->seen_near.fill(kUnseen);
    }

    // Row y. An encoder's samples are read, a decoder's are set.
    void row(int y, std::uint8_t* samples) {
        const auto at = [&](int r) { return rows_.data() + static_cast<std::size_t>(r % 3) * stride_ + kPad; };
        std::uint32_t* now = at(y);
        const std::uint32_t *above = at(y + 2), *above2 = at(y + 1);
        for (int x = 0; x < shape_.width; ++x, samples += shape_.channels) {
            std::uint32_t colour = 0;
            if constexpr (!Coder::kDecodes)
                for (int c = 0; c < shape_.channels; ++c) colour = colour << 8 | samples[c];
            colour = pixel(now + x, above + x, above2 + x, colour);
            now[x] = colour;
            if constexpr (Coder::kDecodes)
                for (int c = 0; c < shape_.channels; ++c) samples[c] = part(colour, c);
        }
    }

private:
    std::uint8_t part(std::uint32_t colour, int c) const {
        return static_cast<std::uint8_t>(colour >> 8 * (shape_.channels - 1 - c));
    }

    std::uint32_t pixel(const std::uint32_t* now, const std::uint32_t* above, const std::uint32_t* above2,
                        std::uint32_t wanted) {
        const std::uint32_t w = now[-1], ww = now[-2], n = above[0], nw = above[-1], ne = above[1], nn = above2[0];
        const std::uint32_t far = hashed({w, n, nw, ne, ww, nn, above[2]}), near = hashed({w, n, nw, ne});
        std::uint32_t &seen_far = models_->seen_far[far >> 16], &seen_near = models_->seen_near[near >> 16];
        const int pattern = (w == n) | (n == ne) << 1 | (n == nw) << 2 | (w == nw) << 3 | (w == ww) << 4 |
                            (n == nn) << 5 | (seen_far == kUnseen) << 6;
        const std::uint32_t guesses[kGuesses] = {seen_far, seen_near, w, n, nw, ne};
        std::uint32_t colour = kUnseen;
        for (int i = 0; i < kGuesses && colour == kUnseen; ++i) {
            bool known = guesses[i] == kUnseen;
            for (int j = 0; j < i; ++j) known |= guesses[j] == guesses[i];
            if (known) continue;
            BitModel& by_hash = models_->by_hash[(far + static_cast<std::uint32_t>(i) * 0x9E3779B1u) >> 16];
            if (coder_.code(models_->by_pattern[i][pattern], by_hash, models_->guess[i], guesses[i] == wanted))
                colour = guesses[i];
        }
        if (colour == kUnseen) colour = literal(w, n, wanted);
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
    std::unique_ptr<Models> models_;
    std::size_t stride_;
    std::vector<std::uint32_t> rows_;  // three, in turns, each with kPad zeros at both ends
};

}  // namespace

std::vector<std::uint8_t> encode_colours(std::span<const std::uint8_t> pixels, PixelShape shape) {
    BitEncoder coder;
    Strip<BitEncoder> strip(coder, shape);
    std::vector<std::uint8_t> row(static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels));
    for (int y = 0; y < shape.height; ++y) {
        std::copy_n(pixels.begin() + static_cast<std::ptrdiff_t>(row.size()) * y, row.size(), row.begin());
        strip.row(y, row.data());
    }
    return coder.finish();
}

bool decode_colours(std::span<const std::uint8_t> data, PixelShape shape, std::span<std::uint8_t> pixels) {
    BitDecoder coder(data);
    Strip<BitDecoder> strip(coder, shape);
    const std::size_t row = static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels);
    for (int y = 0; y < shape.height; ++y) strip.row(y, pixels.data() + row * static_cast<std::size_t>(y));
    return coder.complete();
}

}  // namespace jahp
