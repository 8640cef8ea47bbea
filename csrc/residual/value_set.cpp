// SPDX-License-Identifier: Apache-2.0
#include "residual/value_set.hpp"

#include <algorithm>
#include <bit>
#include <memory>
#include <numeric>
#include <string>

#include "core/error.hpp"
#include "residual/adaptive_bits.hpp"

namespace jahp {
namespace {

constexpr std::size_t kHead = 2;
constexpr int kMostGap = 511, kPatterns = 1 << 12;

struct Models {
    BitModel by_gap[kMostGap + 1][kMostGap + 1], by_pattern[kPatterns];
    Mixer mixer;
};

// Calls used(x) for x = 0 .. 2^bits - 1, whose bit the coder codes; gives what was coded.
template <class Coder, typename Used>
Values coded(Coder& coder, int bits, const Used& used) {
    const auto models = std::make_unique<Models>();
    Values values;
    int last = -1, gap = 0, pattern = 0;
    for (int x = 0; x < 1 << bits; ++x) {
        BitModel& by_gap = models->by_gap[std::min(gap, kMostGap)][std::min(x - last, kMostGap)];
        const bool bit = coder.code(by_gap, models->by_pattern[pattern], models->mixer, used(x));
        pattern = (pattern << 1 | bit) & (kPatterns - 1);
        if (!bit) continue;
        gap = x - last;
        last = x;
        values.push_back(static_cast<std::uint16_t>(x));
    }
    return values;
}

template <typename Place>
std::vector<Place> places(std::span<const std::uint16_t> samples, std::span<const std::uint16_t> values) {
    std::vector<Place> place_of(std::size_t{values.back()} + 1), out(samples.size());
    for (std::size_t i = 0; i < values.size(); ++i) place_of[values[i]] = static_cast<Place>(i);
    for (std::size_t i = 0; i < samples.size(); ++i) out[i] = place_of[samples[i]];
    return out;
}

}  // namespace

int bits_of_places(std::size_t count) { return std::max(8, static_cast<int>(std::bit_width(count - 1))); }

std::optional<Values> sparse_values(std::span<const std::uint16_t> samples) {
    std::vector<char> seen(1 << 16);
    for (const std::uint16_t sample : samples) seen[sample] = 1;
    Values values;
    for (int x = 0; x < 1 << 16; ++x)
        if (seen[static_cast<std::size_t>(x)] != 0) values.push_back(static_cast<std::uint16_t>(x));
    const int least = values.front(), largest = values.back();
    int step = 0;
    for (const int value : values) step = std::gcd(step, value - least);
    step = std::max(step, 1);
    if (2 * values.size() <= static_cast<std::size_t>((largest - least) / step + 2)) return values;
    if (step == 1) return std::nullopt;
    values.clear();
    for (int x = least; x <= largest; x += step) values.push_back(static_cast<std::uint16_t>(x));
    return values;
}

std::vector<std::uint8_t> places8(std::span<const std::uint16_t> samples, std::span<const std::uint16_t> values) {
    return places<std::uint8_t>(samples, values);
}
std::vector<std::uint16_t> places16(std::span<const std::uint16_t> samples, std::span<const std::uint16_t> values) {
    return places<std::uint16_t>(samples, values);
}

std::vector<std::uint8_t> pack_values(std::span<const std::uint16_t> values, int bits) {
    const std::size_t rest = values.size() - 1;
    std::vector<std::uint8_t> out{static_cast<std::uint8_t>(rest), static_cast<std::uint8_t>(rest >> 8)};
    BitEncoder coder;
    std::size_t next = 0;
    coded(coder, bits, [&](int x) {
        const bool is = next < values.size() && values[next] == x;
        next += is;
        return is;
    });
    const std::vector<std::uint8_t> data = coder.finish();
    out.insert(out.end(), data.begin(), data.end());
    return out;
}

std::size_t count_values(std::span<const std::uint8_t> data, int bits) {
    if (data.size() < kHead)
        throw Error(Fault::format, "the values of the samples take " + std::to_string(data.size()) +
                                       " bytes, which is shorter than their number");
    const std::size_t count = (std::size_t{data[0]} | std::size_t{data[1]} << 8) + 1;
    if (count > std::size_t{1} << bits)
        throw Error(Fault::format,
                    "samples of " + std::to_string(bits) + " bits cannot have " + std::to_string(count) + " values");
    return count;
}

Values unpack_values(std::span<const std::uint8_t> data, int bits) {
    const std::size_t count = count_values(data, bits);
    BitDecoder coder(data.subspan(kHead));
    Values values = coded(coder, bits, [](int) { return false; });
    if (!coder.complete() || values.size() != count)
        throw Error(Fault::format, "the values of the samples do not end where their data end: the file is damaged");
    return values;
}

template <typename Place>
void look_up(std::span<const Place> places, std::span<const std::uint16_t> values, std::span<std::uint16_t> samples) {
    for (std::size_t i = 0; i < places.size(); ++i) {
        if (places[i] >= values.size())
            throw Error(Fault::format, "a sample is none of the values that the file names: the file is damaged");
        samples[i] = values[places[i]];
    }
}
template void look_up(std::span<const std::uint8_t>, std::span<const std::uint16_t>, std::span<std::uint16_t>);
template void look_up(std::span<const std::uint16_t>, std::span<const std::uint16_t>, std::span<std::uint16_t>);

}  // namespace jahp
