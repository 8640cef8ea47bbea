// SPDX-License-Identifier: Apache-2.0
#include "residual/exact_pixels.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <tuple>

#include "residual/adaptive_bits.hpp"

namespace jahp {
namespace {

constexpr int kPad = 8, kGroup = 8, kLevels = 25, kLean = 10, kDetails = (2 * kLean + 1) * 6, kBins = 38;
constexpr int kUnary = 20, kEscape = 8, kEscapeBin = 21, kLowBin = 29;

// Of the filters: how fast they learn, what is added to the energy of their taps, the largest error they learn from.
constexpr int kPace = 20, kCalm = 160, kShock = 256;

// Sums of errors by their order of magnitude.
constexpr std::array<std::uint8_t, 512> levels() {
    constexpr int above[kLevels - 1] = {0,  1,  2,  3,  4,  5,  6,  8,  10,  12,  15,  18,
                                        22, 27, 33, 40, 50, 62, 78, 98, 125, 160, 210, 280};
    std::array<std::uint8_t, 512> t{};
    int k = 0;
    for (int v = 0; v < 512; ++v) {
        while (k < kLevels - 1 && v > above[k]) ++k;
        t[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(k);
    }
    return t;
}
constexpr std::array<std::uint8_t, 512> kLevelOf = levels();
constexpr int level(int v) { return kLevelOf[static_cast<std::size_t>(std::min(v, 511))]; }
// Of an error's bits, how many are coded as they are, by level.
constexpr int low_bits(int l) { return l < 17 ? 0 : l < 20 ? 1 : l < 22 ? 2 : l < 24 ? 3 : 4; }

// What is known of one channel in the rows around: samples less those of green (or, of green, as they are), and errors.
struct Plane {
    explicit Plane(int width, std::int16_t start)
        : stride(static_cast<std::size_t>(width) + 2 * kPad), value(3 * stride, start), error(2 * stride, 0) {}
    std::size_t stride;
    std::vector<std::int16_t> value, error;  // three rows and two, in turns, with kPad more at both ends
    std::int16_t *row = nullptr, *above = nullptr, *above2 = nullptr, *errors = nullptr, *errors_above = nullptr;

    void begin(int y) {
        const auto at = [&](std::vector<std::int16_t>& v, int r) {
            return v.data() + static_cast<std::size_t>(r) * stride + kPad;
        };
        row = at(value, y % 3), above = at(value, (y + 2) % 3), above2 = at(value, (y + 1) % 3);
        errors = at(error, y % 2), errors_above = at(error, (y + 1) % 2);
        for (int i = 1; i <= kPad; ++i) row[-i] = above[0];
    }
    // The row goes on with its last value.
    void end(int width) { std::fill_n(row + width, kPad, row[width - 1]); }
};

// Predicts from kGroups groups of neighbours, each of eight that lie side by side.
template <int kGroups>
struct Filter {
    static constexpr int kTaps = kGroups * kGroup;
    alignas(16) std::int16_t weight[kTaps];
    alignas(16) std::int16_t tap[kTaps];

    void begin(const std::int16_t* start) { std::copy_n(start, kTaps, weight); }
    void take(int group, const std::int16_t* from, int less) {
        const auto centre = static_cast<std::int16_t>(less);
        for (int i = 0; i < kGroup; ++i) tap[group * kGroup + i] = static_cast<std::int16_t>(from[i] - centre);
    }
    void take_split(int group, const std::int16_t* first, const std::int16_t* second, int less) {
        const auto centre = static_cast<std::int16_t>(less);
        std::int16_t* t = tap + group * kGroup;
        for (int i = 0; i < 4; ++i) t[i] = static_cast<std::int16_t>(first[i] - centre);
        for (int i = 0; i < 4; ++i) t[4 + i] = static_cast<std::int16_t>(second[i] - centre);
    }
    int dot() const {
        std::int32_t sum = 0;
        for (int i = 0; i < kTaps; ++i) sum += weight[i] * tap[i];
        return sum;
    }
    // error: in sixteenths
    void learn(int error) {
        std::int32_t energy = kCalm;
        for (int i = 0; i < kTaps; ++i) energy += tap[i] * tap[i];
        const auto step = static_cast<std::int16_t>(std::clamp(error, -kShock, kShock) * (1024 * kPace) / energy);
        for (int i = 0; i < kTaps; ++i)
            weight[i] = static_cast<std::int16_t>(std::clamp(weight[i] + ((step * tap[i] + 512) >> 10), -32767, 32767));
    }
};

// What the filters begin with: their mean at the end of photos.
constexpr std::int16_t kStart[3][6 * kGroup] = {
    {-230, 520, -2210, 4150, 760, 360, 240, 170, -30, 890, -1520, 5380, 530, -920, -150, -110},
    {-70, -450, -1610, 3320, 1650, 520, 130, 150, 170, -150, -220, 5330, -110, -200, -550, -410,
     50,  -120, 530,   0,    120,  -70, 0,   0,   0,   30,   -230, 350,  0,    40,   20,   20},
    {-30, -430, -1540, 3010, 1540, 510,  100,  160, 110, -130, -190, 5110,  -60,  -210, -460, -340,
     30,  -60,  190,   0,    -20,  -70,  -20,  0,   40,  40,   -70,  150,   20,   30,   20,   30,
     120, -130, -2160, 0,    -260, -210, -120, -90, 80,  330,  610,  -1160, -360, 50,   110,  90}};

struct Contexts {
    BitModel energy[kLevels][kBins], detail[kDetails][kBins];
    BitModel energy_sign[kLevels][4], detail_sign[kDetails];
    Mixer bin[kBins], sign;
};

template <class Coder>
class Strip {
public:
    Strip(Coder& coder, PixelShape shape, int max_error)
        : coder_(coder), shape_(shape), max_error_(max_error), step_(2 * max_error + 1),
          contexts_(std::make_unique<Contexts[]>(static_cast<std::size_t>(shape.channels))) {
        for (int k = 0; k < shape.channels; ++k) {
            planes_.emplace_back(shape.width, static_cast<std::int16_t>(k == 0 ? 128 : 0));
        }
        std::get<0>(filters_).begin(kStart[0]);
        std::get<1>(filters_).begin(kStart[1]);
        std::get<2>(filters_).begin(kStart[2]);
    }
    // Row y: all of green, then all of red, then all of blue. An encoder's samples are read, a decoder's are set.
    void row(int y, std::uint8_t* samples) {
        for (Plane& plane : planes_) plane.begin(y);
        if (shape_.channels == 1) {
            for (int x = 0; x < shape_.width; ++x) sample<0>(x, samples[x]);
            planes_[0].end(shape_.width);
            return;
        }
        for (int x = 0; x < shape_.width; ++x) sample<0>(x, samples[3 * x + 1]);
        planes_[0].end(shape_.width);
        for (int x = 0; x < shape_.width; ++x) sample<1>(x, samples[3 * x]);
        planes_[1].end(shape_.width);
        for (int x = 0; x < shape_.width; ++x) sample<2>(x, samples[3 * x + 2]);
        planes_[2].end(shape_.width);
    }

private:
    template <int k>
    void sample(int x, std::uint8_t& value) {
        Plane& plane = planes_[k];
        const std::int16_t *v = plane.row + x, *n = plane.above + x, *nn = plane.above2 + x;
        const int centre = (v[-1] + n[0]) >> 1;
        auto& f = std::get<k>(filters_);
        f.take(0, n - 3, centre);
        f.take_split(1, v - 4, nn - 1, centre);
        int green = 0;
        if constexpr (k > 0) {
            green = planes_[0].row[x];
            f.take(2, planes_[0].row + x - 3, green);
            f.take(3, planes_[0].above + x - 3, green);
        }
        if constexpr (k > 1) {
            const int red = planes_[1].row[x];
            f.take(4, planes_[1].row + x - 3, red);
            f.take(5, planes_[1].above + x - 3, red);
        }
        const int guess = centre * 16 + ((f.dot() + 256) >> 9);
        const int fine = std::clamp(guess + green * 16, 0, 255 * 16), whole = (fine + 8) >> 4;

        const std::int16_t *e = plane.errors + x, *en = plane.errors_above + x;
        const int around = 2 * (e[-1] + en[0]) + en[-1] + en[1] + e[-2] + en[2];
        int here = 0;
        if constexpr (k > 0) here += 2 * planes_[0].errors[x];
        if constexpr (k > 1) here += 2 * planes_[1].errors[x];
        Place place;
        place.energy = level(k == 0 ? around : (around + (k == 1 ? 2 : 1) * here) * 2 / 3);
        const int gradient = v[-1] + n[0] - n[-1], low = std::min(v[-1], n[0]), high = std::max(v[-1], n[0]);
        const int lean = (std::clamp(gradient, low, high) + green - whole) * (max_error_ ? 2 : 1);
        place.lean = std::clamp(max_error_ ? lean / step_ : lean, -kLean, kLean);
        place.detail = (2 * kLean + 1) * std::min(level(around + here) / 4, 5) + kLean;
        place.part = (fine - 16 * whole + 8) >> 2;

        int quotient = 0;
        if constexpr (!Coder::kDecodes) {
            const int error = value - whole, size = (std::abs(error) + max_error_) / step_;
            quotient = error < 0 ? -size : size;
        }
        quotient = code(contexts_[k], place, quotient);
        const int coded = std::clamp(whole + quotient * step_, 0, 255);
        if constexpr (Coder::kDecodes) value = static_cast<std::uint8_t>(coded);
        plane.row[x] = static_cast<std::int16_t>(coded - green);
        plane.errors[x] = static_cast<std::int16_t>(std::min(std::abs(quotient) * step_, 255));
        f.learn((coded - green) * 16 - guess);
    }

    struct Place {
        int energy, lean, detail, part;
    };

    int code(Contexts& c, const Place& at, int value) {
        BitModel *a = c.energy[at.energy], *b = c.detail[at.detail + at.lean];
        if (!coder_.code(a[0], b[0], c.bin[0], value != 0)) return 0;
        const bool negative = coder_.code(c.energy_sign[at.energy][at.part], c.detail_sign[at.detail + at.lean], c.sign,
                                          value < 0);
        if (negative) b = c.detail[at.detail - at.lean];
        const int low = low_bits(at.energy), rest = std::abs(value) - 1, high = rest >> low;
        int t = 0;
        while (t < kUnary && coder_.code(a[1 + t], b[1 + t], c.bin[1 + t], high > t)) ++t;
        if (t == kUnary) {
            const int more = high - kUnary + 1;
            int bits = 0;
            while (bits < kEscape && coder_.code(a[kEscapeBin + bits], b[kEscapeBin + bits], c.bin[kEscapeBin + bits],
                                                 more >> (bits + 1) != 0))
                ++bits;
            int got = 1;
            for (int i = bits - 1; i >= 0; --i) got = got << 1 | coder_.plain(more >> i & 1);
            t += got - 1;
        }
        int size = t;
        if (low > 0) {
            const int bin = kLowBin + std::min(t, 8);
            size = size << 1 | coder_.code(a[bin], b[bin], c.bin[bin], rest >> (low - 1) & 1);
            for (int i = low - 2; i >= 0; --i) size = size << 1 | coder_.plain(rest >> i & 1);
        }
        return negative ? -size - 1 : size + 1;
    }

    Coder& coder_;
    PixelShape shape_;
    int max_error_, step_;
    std::unique_ptr<Contexts[]> contexts_;
    std::vector<Plane> planes_;
    std::tuple<Filter<2>, Filter<4>, Filter<6>> filters_;
};

}  // namespace

std::vector<std::uint8_t> encode_exact(std::span<const std::uint8_t> pixels, PixelShape shape, int max_error) {
    BitEncoder coder;
    Strip<BitEncoder> strip(coder, shape, max_error);
    std::vector<std::uint8_t> row(static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels));
    for (int y = 0; y < shape.height; ++y) {
        std::copy_n(pixels.begin() + static_cast<std::ptrdiff_t>(row.size()) * y, row.size(), row.begin());
        strip.row(y, row.data());
    }
    return coder.finish();
}

bool decode_exact(std::span<const std::uint8_t> data, PixelShape shape, int max_error, std::span<std::uint8_t> pixels) {
    BitDecoder coder(data);
    Strip<BitDecoder> strip(coder, shape, max_error);
    const std::size_t row = static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels);
    for (int y = 0; y < shape.height; ++y) strip.row(y, pixels.data() + row * static_cast<std::size_t>(y));
    return coder.complete();
}

}  // namespace jahp
