// SPDX-License-Identifier: Apache-2.0
#include "residual/adaptive_bits.hpp"

#include <utility>

namespace jahp {
namespace {

// At x = -2048, -1920 ... 2048; straight lines between them.
constexpr int kCurve[33] = {1,    2,    4,    6,    10,   17,   27,   45,   74,   120,  194,
                            311,  488,  747,  1102, 1546, 2048, 2550, 2994, 3349, 3608, 3785,
                            3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095};

constexpr int curve(int x) {
    const int place = std::clamp(x, -2047, 2047) + 2048, i = place >> 7, f = place & 127;
    return (kCurve[i] * (128 - f) + kCurve[i + 1] * f + 64) >> 7;
}

// log2(4096 / p) times 256, rounded: digit by digit, by squares.
constexpr int cost_of(int p) {
    constexpr int kDigits = 16;
    int whole = 0;
    while (p >> (whole + 1) != 0) ++whole;
    std::uint64_t square = (static_cast<std::uint64_t>(p) << 31) >> whole;  // 2^31 is one
    int log = whole;
    for (int i = 0; i < kDigits; ++i) {
        square = square * square >> 31;
        log = log << 1 | static_cast<int>(square >> 32);
        square >>= square >> 32;
    }
    return ((12 << kDigits) - log + (1 << (kDigits - 9))) >> (kDigits - 8);
}

constexpr detail::Tables filled() {
    detail::Tables t{};
    for (int x = -2048; x < 2048; ++x)
        t.squash[static_cast<std::size_t>(x + 2048)] = static_cast<std::int16_t>(curve(x));
    int x = -2047;
    for (int p = 0; p < 4096; ++p) {
        while (x < 2047 && curve(x) < p) ++x;
        t.stretch[static_cast<std::size_t>(p)] = static_cast<std::int16_t>(x);
        t.cost[static_cast<std::size_t>(p)] = static_cast<std::uint16_t>(cost_of(std::max(p, 1)));
    }
    return t;
}

}  // namespace

namespace detail {
constinit const Tables tables = filled();
}

int squash(int x) { return curve(x); }
int stretch(int p) { return detail::tables.stretch[static_cast<std::size_t>(std::clamp(p, 0, 4095))]; }

void BitEncoder::carry() {
    for (std::size_t i = bytes_.size(); i-- > 0;)
        if (++bytes_[i] != 0) return;
}

std::vector<std::uint8_t> BitEncoder::finish() {
    for (int i = 0; i < 4; ++i) {
        bytes_.push_back(static_cast<std::uint8_t>(low_ >> 24));
        low_ <<= 8;
    }
    low_ = 0;
    range_ = 0xFFFFFFFF;
    return std::exchange(bytes_, {});
}

}  // namespace jahp
