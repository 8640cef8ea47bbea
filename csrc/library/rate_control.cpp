// SPDX-License-Identifier: Apache-2.0
#include "library/rate_control.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.hpp"

namespace jahp {
namespace {

// What these numbers are, and why, stands in jahp_fast/search/rate_control.py.
constexpr double kTolerance = 0.02, kClose = 0.004, kSlope = 0.0135;
constexpr int kTrims = 6;
constexpr double kHardest = 6, kSoftest = -6;

// The code to try next; one that is known when the search has ended. From the fifth on every other is a bisection.
int next_code(const std::map<int, double>& offsets, int lowest, int highest) {
    double slope = kSlope;
    const auto least_above = std::min_element(offsets.begin(), offsets.end(), [](const auto& a, const auto& b) {
        return std::pair(a.second <= 0, a.first) < std::pair(b.second <= 0, b.first);
    });
    const auto most_below = std::max_element(offsets.begin(), offsets.end(), [](const auto& a, const auto& b) {
        return std::pair(a.second <= 0, a.first) < std::pair(b.second <= 0, b.first);
    });
    const bool above = least_above->second > 0, below = most_below->second <= 0;
    if (!above || !below) {
        const auto [known, offset] = above ? *least_above : *most_below;
        const auto &first = *offsets.begin(), &last = *offsets.rbegin();
        if (offsets.size() > 1 && last.second > first.second)
            slope = (last.second - first.second) / (last.first - first.first);
        const double step = std::ceil(std::abs(offset) / slope);
        return static_cast<int>(std::clamp(above ? known - step : known + step, double(lowest), double(highest)));
    }
    const int low = most_below->first, high = least_above->first;
    if (high - low <= 1) return low;
    const std::size_t passes = offsets.size();
    const double share = passes >= 4 && passes % 2 == 0
                             ? 0.5
                             : -most_below->second / (least_above->second - most_below->second);
    const int wanted = low + static_cast<int>(std::nearbyint(share * (high - low)));
    return std::min(std::max(wanted, low + 1), high - 1);
}

}  // namespace

Bytes fit(const std::function<Bytes(int code)>& encode, const std::function<Bytes(int code, double rate)>& trim,
          int lowest, int highest, int start, std::uint64_t most) {
    const auto goal = static_cast<double>(most);
    const auto offset = [&](std::size_t size) { return std::log(static_cast<double>(size) / goal); };
    Bytes best;
    double badness = std::numeric_limits<double>::infinity();
    const auto consider = [&](Bytes data) {
        const std::size_t size = data.size();
        const double now = size > most ? std::numeric_limits<double>::infinity() : std::abs(offset(size));
        if (now < badness) {
            best = std::move(data);
            badness = now;
        }
        return size;
    };
    std::map<int, double> offsets;
    std::map<int, std::size_t> sizes;
    int code = std::clamp(start, lowest, highest);
    while (!sizes.contains(code)) {
        sizes[code] = consider(encode(code));
        if (badness <= kClose) return best;
        offsets[code] = offset(sizes[code]);
        code = next_code(offsets, lowest, highest);
    }
    const auto above = std::find_if(sizes.begin(), sizes.end(), [&](const auto& pair) { return pair.second > most; });
    const bool none_under = std::none_of(sizes.begin(), sizes.end(),
                                         [&](const auto& pair) { return pair.second <= most; });
    if (none_under && badness > std::log1p(kTolerance))
        throw Error(Fault::usage, std::to_string(most) + " bytes are too few for this image: at quality " +
                                      short_number(lowest / double{kQualitySteps}) + ", the lowest, it takes " +
                                      std::to_string(sizes.at(lowest)));
    if (!trim || above == sizes.end()) return best;
    double soft = kSoftest, hard = kHardest;
    for (int i = 0; i < kTrims && badness > std::log1p(kTolerance) / (i == 0 ? 1 : 2); ++i) {
        const double middle = (soft + hard) / 2;
        (consider(trim(above->first, std::exp2(middle))) > most ? soft : hard) = middle;
    }
    return best;
}

}  // namespace jahp
