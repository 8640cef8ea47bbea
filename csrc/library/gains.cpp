// SPDX-License-Identifier: Apache-2.0
#include "library/gains.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "library/transform_tensors.hpp"

namespace jahp {
namespace {

constexpr int kLogBits = 12, kMulBits = 15;
constexpr std::int32_t kLeastLog = (kMulBits - 62) * (1 << kLogBits), kMostLog = kMulBits * (1 << kLogBits) - 1;

// The integers nearest to 2^(15 + i / 64), and to 2^(15 + i / 4096).
constexpr std::int64_t kCoarse[64] = {
    32768, 33125, 33486, 33850, 34219, 34591, 34968, 35349, 35734, 36123, 36516, 36914, 37316, 37722, 38133, 38548,
    38968, 39392, 39821, 40255, 40693, 41136, 41584, 42037, 42495, 42958, 43425, 43898, 44376, 44859, 45348, 45842,
    46341, 46846, 47356, 47871, 48393, 48920, 49452, 49991, 50535, 51085, 51642, 52204, 52773, 53347, 53928, 54515,
    55109, 55709, 56316, 56929, 57549, 58176, 58809, 59449, 60097, 60751, 61413, 62081, 62757, 63441, 64132, 64830};
constexpr std::int64_t kFine[64] = {
    32768, 32774, 32779, 32785, 32790, 32796, 32801, 32807, 32812, 32818, 32823, 32829, 32835, 32840, 32846, 32851,
    32857, 32862, 32868, 32874, 32879, 32885, 32890, 32896, 32901, 32907, 32912, 32918, 32924, 32929, 32935, 32940,
    32946, 32952, 32957, 32963, 32968, 32974, 32979, 32985, 32991, 32996, 33002, 33007, 33013, 33018, 33024, 33030,
    33035, 33041, 33046, 33052, 33058, 33063, 33069, 33074, 33080, 33086, 33091, 33097, 33102, 33108, 33114, 33119};

}  // namespace

template <typename T>
std::vector<T> mixed(std::span<const T> rows, std::size_t size, const Between& at) {
    const std::span<const T> low = rows.subspan(at.row * size, size), high = rows.subspan((at.row + 1) * size, size);
    std::vector<T> out(size);
    for (std::size_t i = 0; i < size; ++i) {
        const std::int64_t exact = low[i] * (at.steps - at.t) + high[i] * at.t + at.steps / 2;
        out[i] = static_cast<T>(exact >= 0 ? exact / at.steps : -((-exact + at.steps - 1) / at.steps));
    }
    return out;
}
template std::vector<std::int16_t> mixed(std::span<const std::int16_t>, std::size_t, const Between&);
template std::vector<std::int32_t> mixed(std::span<const std::int32_t>, std::size_t, const Between&);

Factors multipliers(std::span<const std::int32_t> logs) {
    Factors out;
    for (const std::int32_t log : logs) {
        const std::int64_t product = kCoarse[log >> 6 & 63] * kFine[log & 63];
        out.mul.push_back(static_cast<std::int32_t>((product + (1 << (kMulBits - 1))) >> kMulBits));
        out.shift.push_back(static_cast<std::uint8_t>(kMulBits - (log >> kLogBits)));
    }
    return out;
}

Gain::Gain(const ModelFile& model, const std::string& name)
    : config_(model.config()), channels_(static_cast<std::size_t>(config_.latents)),
      rows_(name == "h_a.input" ? 1 : config_.qualities.size()) {
    const TransformTensors tensors(model, name);
    const auto logs = tensors.take<std::int32_t>(name, {static_cast<std::int64_t>(rows_), model.config().latents});
    const auto [least, most] = std::minmax_element(logs.begin(), logs.end());
    if (*least < kLeastLog || *most > kMostLog)
        throw Error(Fault::model, model.name() + ": tensor transform." + name + " has a logarithm that is not " +
                                      std::to_string(kLeastLog) + " to " + std::to_string(kMostLog));
    logs_.assign(logs.begin(), logs.end());
}

const Factors& Gain::at(double quality) {
    const std::scoped_lock lock(mutex_);
    const auto [place, fresh] = made_.try_emplace(rows_ > 1 ? quality : 0.0);
    if (fresh)
        place->second = multipliers(rows_ == 1 ? logs_
                                               : mixed<std::int32_t>(logs_, channels_, config_.between(quality)));
    return place->second;
}

}  // namespace jahp
