// SPDX-License-Identifier: Apache-2.0
#include "residual/residual_transform.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include "residual/adaptive_bits.hpp"

namespace jahp {
namespace {

constexpr int kSide = 8, kArea = kSide * kSide, kLevels = 16, kZones = 8, kPlaces = 36;
constexpr int kUnary = 14, kEscape = 12, kEscapeBin = kUnary + 1, kBins = kEscapeBin + kEscape;

// A block, row by row; coefficients with the vertical frequency first. In eighths.
using Block = std::array<std::int16_t, kArea>;

// 4096 times the orthonormal DCT-II: a row a frequency.
constexpr std::int16_t kCosines[kSide][kSide] = {
    {1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448},     {2009, 1703, 1138, 400, -400, -1138, -1703, -2009},
    {1892, 784, -784, -1892, -1892, -784, 784, 1892},     {1703, -400, -2009, -1138, 1138, 2009, 400, -1703},
    {1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448}, {1138, -2009, 400, 1703, -1703, -400, 2009, -1138},
    {784, -1892, 1892, -784, -784, 1892, -1892, 784},     {400, -1138, 1703, -2009, 2009, -1703, 1138, -400}};
// 4096 times an orthonormal basis of colours: of red, green, blue.
constexpr int kColours[3][3] = {{2365, 2365, 2365}, {2896, 0, -2896}, {-1672, 3344, -1672}};

std::int16_t narrow(int v) { return static_cast<std::int16_t>(std::clamp(v, -32767, 32767)); }

// out(j, a) = the sum of m(a, b) in(b, j) over b, where m is kCosines, or its transpose.
template <bool kTransposed>
void product(const Block& in, Block& out) {
    for (int a = 0; a < kSide; ++a) {
        std::int32_t sum[kSide];
        for (int j = 0; j < kSide; ++j) sum[j] = 2048;
        for (int b = 0; b < kSide; ++b) {
            const std::int16_t m = kTransposed ? kCosines[b][a] : kCosines[a][b];
            for (int j = 0; j < kSide; ++j) sum[j] += m * in[static_cast<std::size_t>(b * kSide + j)];
        }
        for (int j = 0; j < kSide; ++j) out[static_cast<std::size_t>(j * kSide + a)] = narrow(sum[j] >> 12);
    }
}

template <bool kInverse>
void transform(Block& block) {
    Block between;
    product<kInverse>(block, between);
    product<kInverse>(between, block);
}

// Of sixteen times a mean of magnitudes, by its order of magnitude.
constexpr std::array<std::uint8_t, 513> levels() {
    constexpr int from[kLevels - 1] = {4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512};
    std::array<std::uint8_t, 513> t{};
    int k = 0;
    for (int v = 0; v <= 512; ++v) {
        while (k < kLevels - 1 && v >= from[k]) ++k;
        t[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(k);
    }
    return t;
}
constexpr std::array<std::uint8_t, 513> kLevelOf = levels();
constexpr int level(int v) { return kLevelOf[static_cast<std::size_t>(std::min(v, 512))]; }

// Places of a block in the order of coding; and by place, which of kPlaces it shares with the one across the diagonal.
struct Order {
    std::array<std::uint8_t, kArea> place{}, shared{};
};
constexpr Order diagonals() {
    Order o;
    std::size_t n = 0;
    for (int sum = 0; sum <= 2 * (kSide - 1); ++sum)
        for (int u = 0; u < kSide; ++u)
            if (const int v = sum - u; v >= 0 && v < kSide) o.place[n++] = static_cast<std::uint8_t>(u * kSide + v);
    for (int u = 0; u < kSide; ++u)
        for (int v = 0; v < kSide; ++v) {
            const int low = std::min(u, v), high = std::max(u, v);
            o.shared[static_cast<std::size_t>(u * kSide + v)] = static_cast<std::uint8_t>(
                low * (2 * kSide - low - 1) / 2 + high);
        }
    return o;
}
constexpr Order kOrder = diagonals();

// Magnitudes of a block with a margin of zeros: two places before it, and one behind.
struct Magnitudes {
    static constexpr int kStride = kSide + 3;
    std::array<std::int32_t, kStride * kStride> value{};
    static constexpr int at(int place) { return (place / kSide + 2) * kStride + place % kSide + 2; }
    // In halves of a magnitude: four times each place, and its four neighbours once.
    std::array<std::int32_t, kArea> spread() const {
        std::array<std::int32_t, kArea> s;
        for (int u = 0; u < kSide; ++u)
            for (int v = 0; v < kSide; ++v) {
                const std::int32_t* m = value.data() + (u + 2) * kStride + v + 2;
                s[static_cast<std::size_t>(u * kSide + v)] = 4 * m[0] + m[-1] + m[1] + m[-kStride] + m[kStride];
            }
        return s;
    }
};
using Spread = std::array<std::int32_t, kArea>;

struct Contexts {
    BitModel energy[kLevels * kZones][kBins], detail[kPlaces * kLevels][kBins];
    Mixer mixer[kLevels][kBins];
};

template <class Coder, typename Sample>
class Strip {
    static constexpr int kFiner = 8 * (static_cast<int>(sizeof(Sample)) - 1);  // bits of a sample below those of 8
    static constexpr int kEighths = 9 + kFiner, kPixels = 15 - kFiner;         // shifts of sums of kColours

public:
    Strip(Coder& coder, PixelShape shape, int step)
        : coder_(coder), shape_(shape), step_(step), reciprocal_((1 << 20) / step),
          contexts_(std::make_unique<Contexts[]>(static_cast<std::size_t>(shape.channels))) {
        const auto blocks = static_cast<std::size_t>((shape.width + kSide - 1) / kSide);
        for (int k = 0; k < shape.channels; ++k) above_[k].resize(blocks);
    }

    // Rows of blocks from row `y` of the strip on. An encoder reads `wanted`; a decoder adds to `coarse`.
    void blocks(int y, Sample* coarse, const Sample* wanted) {
        Spread left[3]{};
        for (int x = 0; x < shape_.width; x += kSide) {
            Block base[3], difference[3];
            take(y, x, coarse, nullptr, base);
            if constexpr (!Coder::kDecodes) take(y, x, wanted, coarse, difference);
            Magnitudes magnitudes[3];
            Spread before{};  // of the components before
            bool coded[3]{};
            for (std::size_t k = 0; k < static_cast<std::size_t>(shape_.channels); ++k) {
                transform<false>(base[k]);
                if constexpr (!Coder::kDecodes) transform<false>(difference[k]);
                Spread& above = above_[k][static_cast<std::size_t>(x / kSide)];
                Spread around;
                for (std::size_t p = 0; p < kArea; ++p) around[p] = 2 * (left[k][p] + above[p] + before[p]);
                coded[k] = component(contexts_[k], around, base[k], magnitudes[k], difference[k]);
                left[k] = above = magnitudes[k].spread();
                before = left[k];
                if (k != 1) continue;
                for (int p = 0; p < kArea; ++p)
                    before[static_cast<std::size_t>(p)] += 4 * magnitudes[0]
                                                                   .value[static_cast<std::size_t>(Magnitudes::at(p))];
            }
            if constexpr (Coder::kDecodes) {
                if (!(coded[0] || coded[1] || coded[2])) continue;
                for (int k = 0; k < shape_.channels; ++k)
                    if (coded[k]) transform<true>(difference[k]);
                add(y, x, coarse, difference);
            }
        }
    }

private:
    // Components of a block of pixels, less those of another picture; beyond the edges the last pixels go on.
    void take(int y, int x, const Sample* from, const Sample* less, Block* out) const {
        for (int i = 0; i < kSide; ++i) {
            const auto row = static_cast<std::size_t>(std::min(y + i, shape_.height - 1)) *
                             static_cast<std::size_t>(shape_.width);
            for (int j = 0; j < kSide; ++j) {
                const std::size_t at = (row + static_cast<std::size_t>(std::min(x + j, shape_.width - 1))) *
                                       static_cast<std::size_t>(shape_.channels);
                const auto place = static_cast<std::size_t>(i * kSide + j);
                const auto sample = [&](std::size_t c) { return from[at + c] - (less ? less[at + c] : 0); };
                if (shape_.channels == 1) {
                    out[0][place] = static_cast<std::int16_t>((8 * sample(0) + (1 << kFiner >> 1)) >> kFiner);
                    continue;
                }
                const int r = sample(0), g = sample(1), b = sample(2);
                for (int k = 0; k < 3; ++k)
                    out[k][place] = static_cast<std::int16_t>(
                        (kColours[k][0] * r + kColours[k][1] * g + kColours[k][2] * b + (1 << kEighths >> 1)) >>
                        kEighths);
            }
        }
    }

    void add(int y, int x, Sample* pixels, const Block* difference) const {
        const int rows = std::min(kSide, shape_.height - y), columns = std::min(kSide, shape_.width - x);
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) {
                Sample* p = pixels + (static_cast<std::size_t>(y + i) * static_cast<std::size_t>(shape_.width) +
                                      static_cast<std::size_t>(x + j)) *
                                         static_cast<std::size_t>(shape_.channels);
                const auto place = static_cast<std::size_t>(i * kSide + j);
                const auto move = [&](int c, int by) {
                    p[c] = static_cast<Sample>(std::clamp(p[c] + by, 0, int{std::numeric_limits<Sample>::max()}));
                };
                if (shape_.channels == 1) {
                    move(0, (difference[0][place] * (1 << kFiner) + 4) >> 3);
                    continue;
                }
                for (int c = 0; c < 3; ++c)
                    move(c, (kColours[0][c] * difference[0][place] + kColours[1][c] * difference[1][place] +
                             kColours[2][c] * difference[2][place] + (1 << kPixels >> 1)) >>
                                kPixels);
            }
    }

    // The coefficients of a component: quantised and coded, or decoded into `difference`. Whether one is not 0.
    bool component(Contexts& c, const Spread& around, const Block& base, Magnitudes& magnitudes, Block& difference) {
        std::int32_t activity[kArea];
        Magnitudes strength;
        for (int p = 1; p < kArea; ++p)
            strength.value[static_cast<std::size_t>(Magnitudes::at(p))] = std::abs(base[static_cast<std::size_t>(p)]);
        for (int u = 0; u < kSide; ++u)
            for (int v = 0; v < kSide; ++v) {
                const std::int32_t* m = strength.value.data() + (u + 2) * Magnitudes::kStride + v + 2;
                const int sum = 2 * m[0] + m[-1] + m[1] + m[-Magnitudes::kStride] + m[Magnitudes::kStride];
                activity[u * kSide + v] = level((std::min(sum, 32 * step_) * reciprocal_) >> 16);
            }
        bool any = false;
        for (const std::uint8_t place : kOrder.place) {
            std::int32_t* m = magnitudes.value.data() + Magnitudes::at(place);
            const int inside = 2 * (m[-1] + m[-Magnitudes::kStride]) + m[-Magnitudes::kStride - 1] +
                               m[-Magnitudes::kStride + 1] + m[-2] + m[-2 * Magnitudes::kStride];
            const int energy = level(8 * inside + around[place]), zone = (place / kSide + place % kSide) / 2;
            BitModel *a = c.energy[energy * kZones + zone],
                     *b = c.detail[kOrder.shared[place] * kLevels + activity[place]];
            Mixer* mixer = c.mixer[energy];
            std::int16_t& d = difference[place];
            int wanted = 0;
            if constexpr (!Coder::kDecodes) wanted = quantised(d, a[0]);
            const int size = magnitude(a, b, mixer, wanted);
            *m = size;
            if (size == 0) {
                d = 0;
                continue;
            }
            any = true;
            const bool negative = coder_.plain(d < 0);
            const int value = std::min((size * step_ + 1) >> 1, 32767);
            if constexpr (Coder::kDecodes) d = static_cast<std::int16_t>(negative ? -value : value);
        }
        return any;
    }

    // Rounded down a little, since small magnitudes take fewer bits; and to 0 where a 1 costs much and gains little.
    int quantised(int value, const BitModel& zero) const {
        const int fine = std::abs(value) * 512 / step_, size = (fine + 90) >> 8;
        if (size == 1 && (2 * fine - 256) * 64 < 2458 - 9 * stretch(zero.p >> 4)) return 0;
        return size;
    }

    int magnitude(BitModel* a, BitModel* b, Mixer* mixer, int wanted) {
        int t = 0;
        while (t <= kUnary && coder_.code(a[t], b[t], mixer[t], wanted > t)) ++t;
        if (t <= kUnary) return t;
        const int more = wanted - kUnary;
        int bits = 0;
        while (bits < kEscape && coder_.code(a[kEscapeBin + bits], b[kEscapeBin + bits], mixer[kEscapeBin + bits],
                                             more >> (bits + 1) != 0))
            ++bits;
        int got = 1;
        for (int i = bits - 1; i >= 0; --i) got = got << 1 | coder_.plain(more >> i & 1);
        return kUnary + got;
    }

    Coder& coder_;
    PixelShape shape_;
    int step_, reciprocal_;
    std::unique_ptr<Contexts[]> contexts_;
    std::vector<Spread> above_[3];
};

}  // namespace

template <typename Sample>
std::vector<std::uint8_t> encode_residual(std::span<const Sample> pixels, std::span<const Sample> coarse,
                                          PixelShape shape, int step) {
    BitEncoder coder;
    Strip<BitEncoder, Sample> strip(coder, shape, step);
    std::vector<Sample> base(coarse.begin(), coarse.end());
    for (int y = 0; y < shape.height; y += kSide) strip.blocks(y, base.data(), pixels.data());
    return coder.finish();
}

template <typename Sample>
bool decode_residual(std::span<const std::uint8_t> data, PixelShape shape, int step, std::span<Sample> pixels) {
    BitDecoder coder(data);
    Strip<BitDecoder, Sample> strip(coder, shape, step);
    for (int y = 0; y < shape.height; y += kSide) strip.blocks(y, pixels.data(), nullptr);
    return coder.complete();
}

template std::vector<std::uint8_t> encode_residual(std::span<const std::uint8_t>, std::span<const std::uint8_t>,
                                                   PixelShape, int);
template std::vector<std::uint8_t> encode_residual(std::span<const std::uint16_t>, std::span<const std::uint16_t>,
                                                   PixelShape, int);
template bool decode_residual(std::span<const std::uint8_t>, PixelShape, int, std::span<std::uint8_t>);
template bool decode_residual(std::span<const std::uint8_t>, PixelShape, int, std::span<std::uint16_t>);

}  // namespace jahp
