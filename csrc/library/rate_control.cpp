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
constexpr double kTolerance = 0.02, kClose = 0.004, kSlope = 0.0135, kPsnrClose = 0.02, kPsnrSlope = 0.064;
constexpr int kTrims = 6;
constexpr double kHardest = 6, kSoftest = -6;

// The code to try next; one that is known when the search has ended. From the fifth on every other is a bisection.
// slope: of the offsets from one code to the next, before two are known.
int next_code(const std::map<int, double>& offsets, const CodeRange& codes, double slope) {
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
        return static_cast<int>(
            std::clamp(above ? known - step : known + step, double(codes.lowest), double(codes.highest)));
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

LatentFile fit(const std::function<LatentFile(int code)>& encode,
               const std::function<LatentFile(int code, double rate)>& trim, const CodeRange& codes,
               const SizeGoal& goal) {
    const auto offset = [&](std::size_t size) { return std::log(static_cast<double>(size) / goal.goal); };
    const auto beyond = [&](std::size_t size) { return static_cast<double>(size) > goal.goal; };
    LatentFile best;
    double badness = std::numeric_limits<double>::infinity();
    const auto consider = [&](LatentFile file) {
        const std::size_t size = file.data.size();
        const bool allowed = static_cast<double>(size) <= goal.most;
        const double now = allowed ? std::abs(offset(size)) : std::numeric_limits<double>::infinity();
        if (now < badness) {
            best = std::move(file);
            badness = now;
        }
        return size;
    };
    std::map<int, double> offsets;
    std::map<int, std::size_t> sizes;
    int code = std::clamp(codes.start, codes.lowest, codes.highest);
    while (!sizes.contains(code)) {
        sizes[code] = consider(encode(code));
        if (badness <= kClose) return best;
        offsets[code] = offset(sizes[code]);
        code = next_code(offsets, codes, kSlope);
    }
    const auto above = std::find_if(sizes.begin(), sizes.end(), [&](const auto& pair) { return beyond(pair.second); });
    const bool none_under = std::all_of(sizes.begin(), sizes.end(),
                                        [&](const auto& pair) { return beyond(pair.second); });
    if (none_under && badness > std::log1p(kTolerance)) throw too_small(goal, codes.lowest, sizes.at(codes.lowest));
    if (!trim || above == sizes.end()) return best;
    double soft = kSoftest, hard = kHardest;
    for (int i = 0; i < kTrims && badness > std::log1p(kTolerance) / (i == 0 ? 1 : 2); ++i) {
        const double middle = (soft + hard) / 2;
        (beyond(consider(trim(above->first, std::pow(2.0, middle)))) ? soft : hard) = middle;
    }
    return best;
}

Error too_small(const SizeGoal& goal, int lowest, std::size_t size) {
    return {Fault::usage, std::to_string(static_cast<std::uint64_t>(std::floor(goal.goal))) +
                              " bytes are too few for this image: at quality " +
                              short_number(lowest / double{kQualitySteps}) + ", the lowest, it takes " +
                              std::to_string(size)};
}

LatentFile fit_psnr(const std::function<std::pair<LatentFile, double>(int code)>& encode, const CodeRange& codes,
                    double psnr) {
    LatentFile best;
    std::pair<double, int> badness{std::numeric_limits<double>::infinity(), 0};
    std::map<int, double> offsets;
    int code = std::clamp(codes.start, codes.lowest, codes.highest);
    while (!offsets.contains(code)) {
        auto [file, reached] = encode(code);
        offsets[code] = reached - psnr;
        const std::pair now(std::abs(offsets[code]), code);
        if (now < badness) {
            best = std::move(file);
            badness = now;
        }
        if (now.first <= kPsnrClose) return best;
        code = next_code(offsets, codes, kPsnrSlope);
    }
    const auto last = offsets.find(codes.highest);
    if (last != offsets.end() && last->second < -kPsnrSlope) {
        throw Error(Fault::usage, "target_psnr " + short_number(psnr) +
                                      " dB is more than this model gives: this image has " +
                                      fixed_number(psnr + last->second, 2) + " dB at quality " +
                                      short_number(codes.highest / double{kQualitySteps}) + ", the highest");
    }
    return best;
}

double psnr_of(std::uint64_t squares, std::uint64_t samples) {
    if (squares == 0) return kBestPsnr;
    return std::min(kBestPsnr, 10 * std::log10(static_cast<double>(65025 * samples) / static_cast<double>(squares)));
}

}  // namespace jahp
