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

constexpr int kPad = 8, kGroup = 8, kLean = 10, kUnary = 20, kEscapeBin = 21;

// Of the filters: how fast they learn, what is added to the energy of their taps, the largest error they learn from.
constexpr int kPace = 20, kCalm = 160, kShock = 256;

// Of samples of 8 bits, and of deeper ones: types that hold their differences and the sums of these, and most contexts.
template <typename Sample>
struct Kind {
    using Value = std::int16_t;
    using Sum = std::int32_t;
    static constexpr bool kDeep = false;
    static constexpr int kLevels = 25, kDetails = 6, kBins = 38;
};
template <>
struct Kind<std::uint16_t> {
    using Value = std::int32_t;
    using Sum = std::int64_t;
    static constexpr bool kDeep = true;
    static constexpr int kLevels = 41, kDetails = 10, kBins = 46;
};

// Sums of errors by their order of magnitude: from these on those of deeper samples double with every second one.
constexpr int kAbove[] = {0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 62, 78, 98, 125, 160, 210, 280};
constexpr int kDeepAbove[] = {396, 560}, kByTable = 24;
constexpr std::array<std::uint8_t, 512> levels() {
    std::array<std::uint8_t, 512> t{};
    int k = 0;
    for (int v = 0; v < 512; ++v) {
        while (k < kByTable && v > kAbove[k]) ++k;
        t[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(k);
    }
    return t;
}
constexpr std::array<std::uint8_t, 512> kLevelOf = levels();
constexpr int level(int v) { return kLevelOf[static_cast<std::size_t>(std::min(v, 511))]; }
// more: bits of a sample beyond 8, each of which has two levels.
constexpr int deep_level(int v, int more) {
    if (v <= kDeepAbove[0]) return level(v);
    int k = 0;
    while (k < 2 * more && v > (kDeepAbove[k % 2] << (k / 2))) ++k;
    return kByTable + k;
}
// Of an error's bits, how many are coded as they are, by level.
constexpr int low_bits(int l) { return l < 17 ? 0 : l < 20 ? 1 : l < 22 ? 2 : l < 24 ? 3 : 4 + (l - kByTable) / 2; }

// What is known of one channel in the rows around: samples less those of green (or, of green, as they are), and errors.
template <typename Value>
struct Plane {
    explicit Plane(int width, int start)
        : stride(static_cast<std::size_t>(width) + 2 * kPad), value(3 * stride, static_cast<Value>(start)),
          error(2 * stride, 0) {}
    std::size_t stride;
    std::vector<Value> value, error;  // three rows and two, in turns, with kPad more at both ends
    Value *row = nullptr, *above = nullptr, *above2 = nullptr, *errors = nullptr, *errors_above = nullptr;

    void begin(int y) {
        const auto at = [&](std::vector<Value>& v, int r) {
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
template <int kGroups, typename Value, typename Sum>
struct Filter {
    static constexpr int kTaps = kGroups * kGroup;
    alignas(16) std::int16_t weight[kTaps];
    alignas(16) Value tap[kTaps];

    void begin(const std::int16_t* start) { std::copy_n(start, kTaps, weight); }
    void take(int group, const Value* from, int less) {
        const auto centre = static_cast<Value>(less);
        for (int i = 0; i < kGroup; ++i) tap[group * kGroup + i] = static_cast<Value>(from[i] - centre);
    }
    void take_split(int group, const Value* first, const Value* second, int less) {
        const auto centre = static_cast<Value>(less);
        Value* t = tap + group * kGroup;
        for (int i = 0; i < 4; ++i) t[i] = static_cast<Value>(first[i] - centre);
        for (int i = 0; i < 4; ++i) t[4 + i] = static_cast<Value>(second[i] - centre);
    }
    Sum dot() const {
        Sum sum = 0;
        for (int i = 0; i < kTaps; ++i) sum += static_cast<Sum>(weight[i]) * tap[i];
        return sum;
    }
    // error: in sixteenths; more: bits of a sample beyond 8
    void learn(int error, int more) {
        Sum energy = static_cast<Sum>(kCalm) << more;
        for (int i = 0; i < kTaps; ++i) energy += static_cast<Sum>(tap[i]) * tap[i];
        const Sum most = static_cast<Sum>(kShock) << more, pace = static_cast<Sum>(1024 * kPace) << more,
                  half = static_cast<Sum>(512) << more;
        const auto step = static_cast<Value>(std::clamp<Sum>(error, -most, most) * pace / energy);
        for (int i = 0; i < kTaps; ++i)
            weight[i] = static_cast<std::int16_t>(
                std::clamp<Sum>(weight[i] + ((static_cast<Sum>(step) * tap[i] + half) >> (10 + more)), -32767, 32767));
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

template <class K>
struct Contexts {
    BitModel energy[K::kLevels][K::kBins], detail[(2 * kLean + 1) * K::kDetails][K::kBins];
    BitModel energy_sign[K::kLevels][4], detail_sign[(2 * kLean + 1) * K::kDetails];
    Mixer bin[K::kBins], sign;
};

template <class Coder, typename Sample>
class Strip {
    using K = Kind<Sample>;
    using Value = typename K::Value;

public:
    // bits: 8 of samples of uint8, else 9 to 16.
    Strip(Coder& coder, PixelShape shape, int bits, int max_error)
        : coder_(coder), shape_(shape), max_error_(max_error), step_(2 * max_error + 1), deeper_(bits - 8),
          contexts_(std::make_unique<Contexts<K>[]>(static_cast<std::size_t>(shape.channels))) {
        for (int k = 0; k < shape.channels; ++k) planes_.emplace_back(shape.width, k == 0 ? 128 << more() : 0);
        std::get<0>(filters_).begin(kStart[0]);
        std::get<1>(filters_).begin(kStart[1]);
        std::get<2>(filters_).begin(kStart[2]);
    }
    // Row y: all of green, then all of red, then all of blue. An encoder's samples are read, a decoder's are set.
    void row(int y, Sample* samples) {
        for (Plane<Value>& plane : planes_) plane.begin(y);
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
    // Bits of a sample beyond 8, and the largest sample.
    int more() const { return K::kDeep ? deeper_ : 0; }
    int most() const { return (256 << more()) - 1; }
    int level_of(int sum) const { return K::kDeep ? deep_level(sum, more()) : level(sum); }

    template <int k>
    void sample(int x, Sample& value) {
        Plane<Value>& plane = planes_[k];
        const Value *v = plane.row + x, *n = plane.above + x, *nn = plane.above2 + x;
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
        const int guess = centre * 16 + static_cast<int>((f.dot() + 256) >> 9);
        const int fine = std::clamp(guess + green * 16, 0, most() * 16), whole = (fine + 8) >> 4;

        const Value *e = plane.errors + x, *en = plane.errors_above + x;
        const int around = 2 * (e[-1] + en[0]) + en[-1] + en[1] + e[-2] + en[2];
        int here = 0;
        if constexpr (k > 0) here += 2 * planes_[0].errors[x];
        if constexpr (k > 1) here += 2 * planes_[1].errors[x];
        Place place;
        place.energy = level_of(k == 0 ? around : (around + (k == 1 ? 2 : 1) * here) * 2 / 3);
        const int gradient = v[-1] + n[0] - n[-1], low = std::min<int>(v[-1], n[0]), high = std::max<int>(v[-1], n[0]);
        int lean = (std::clamp(gradient, low, high) + green - whole) * (max_error_ ? 2 : 1);
        if (max_error_) lean /= step_;
        if constexpr (K::kDeep) lean /= 1 << low_bits(place.energy);
        place.lean = std::clamp(lean, -kLean, kLean);
        place.detail = (2 * kLean + 1) * std::min(level_of(around + here) / 4, 5 + more() / 2) + kLean;
        place.part = (fine - 16 * whole + 8) >> 2;

        int quotient = 0;
        if constexpr (!Coder::kDecodes) {
            const int error = value - whole, size = (std::abs(error) + max_error_) / step_;
            quotient = error < 0 ? -size : size;
        }
        quotient = code(contexts_[k], place, quotient);
        const auto wanted = whole + static_cast<typename K::Sum>(quotient) * step_;
        const int coded = static_cast<int>(std::clamp<typename K::Sum>(wanted, 0, most()));
        if constexpr (Coder::kDecodes) value = static_cast<Sample>(coded);
        plane.row[x] = static_cast<Value>(coded - green);
        plane.errors[x] = static_cast<Value>(std::min(std::abs(quotient) * (K::kDeep ? 1 : step_), most()));
        f.learn((coded - green) * 16 - guess, more());
    }

    struct Place {
        int energy, lean, detail, part;
    };

    int code(Contexts<K>& c, const Place& at, int value) {
        BitModel *a = c.energy[at.energy], *b = c.detail[at.detail + at.lean];
        if (!coder_.code(a[0], b[0], c.bin[0], value != 0)) return 0;
        const bool negative = coder_.code(c.energy_sign[at.energy][at.part], c.detail_sign[at.detail + at.lean], c.sign,
                                          value < 0);
        if (negative) b = c.detail[at.detail - at.lean];
        const int low = low_bits(at.energy), rest = std::abs(value) - 1, high = rest >> low, escape = 8 + more();
        int t = 0;
        while (t < kUnary && coder_.code(a[1 + t], b[1 + t], c.bin[1 + t], high > t)) ++t;
        if (t == kUnary) {
            const int left = high - kUnary + 1;
            int bits = 0;
            while (bits < escape && coder_.code(a[kEscapeBin + bits], b[kEscapeBin + bits], c.bin[kEscapeBin + bits],
                                                left >> (bits + 1) != 0))
                ++bits;
            int got = 1;
            for (int i = bits - 1; i >= 0; --i) got = got << 1 | coder_.plain(left >> i & 1);
            t += got - 1;
        }
        int size = t;
        if (low > 0) {
            const int bin = kEscapeBin + escape + std::min(t, 8);
            size = size << 1 | coder_.code(a[bin], b[bin], c.bin[bin], rest >> (low - 1) & 1);
            for (int i = low - 2; i >= 0; --i) size = size << 1 | coder_.plain(rest >> i & 1);
        }
        return negative ? -size - 1 : size + 1;
    }

    Coder& coder_;
    PixelShape shape_;
    int max_error_, step_, deeper_;
    std::unique_ptr<Contexts<K>[]> contexts_;
    std::vector<Plane<Value>> planes_;
    std::tuple<Filter<2, Value, typename K::Sum>, Filter<4, Value, typename K::Sum>, Filter<6, Value, typename K::Sum>>
        filters_;
};

template <typename Sample>
std::vector<std::uint8_t> encoded(std::span<const Sample> pixels, PixelShape shape, int bits, int max_error) {
    BitEncoder coder;
    Strip<BitEncoder, Sample> strip(coder, shape, bits, max_error);
    std::vector<Sample> row(static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels));
    for (int y = 0; y < shape.height; ++y) {
        std::copy_n(pixels.begin() + static_cast<std::ptrdiff_t>(row.size()) * y, row.size(), row.begin());
        strip.row(y, row.data());
    }
    return coder.finish();
}

template <typename Sample>
bool decoded(std::span<const std::uint8_t> data, PixelShape shape, int bits, int max_error, std::span<Sample> pixels) {
    BitDecoder coder(data);
    Strip<BitDecoder, Sample> strip(coder, shape, bits, max_error);
    const std::size_t row = static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels);
    for (int y = 0; y < shape.height; ++y) strip.row(y, pixels.data() + row * static_cast<std::size_t>(y));
    return coder.complete();
}

}  // namespace

std::vector<std::uint8_t> encode_exact(std::span<const std::uint8_t> pixels, PixelShape shape, int max_error) {
    return encoded(pixels, shape, 8, max_error);
}
std::vector<std::uint8_t> encode_exact(std::span<const std::uint16_t> pixels, PixelShape shape, int bits,
                                       int max_error) {
    return encoded(pixels, shape, bits, max_error);
}

bool decode_exact(std::span<const std::uint8_t> data, PixelShape shape, int max_error, std::span<std::uint8_t> pixels) {
    return decoded(data, shape, 8, max_error, pixels);
}
bool decode_exact(std::span<const std::uint8_t> data, PixelShape shape, int bits, int max_error,
                  std::span<std::uint16_t> pixels) {
    return decoded(data, shape, bits, max_error, pixels);
}

}  // namespace jahp
