// SPDX-License-Identifier: Apache-2.0
// The quality at which an image's file has a wanted size, or a wanted PSNR, as jahp_fast.search.rate_control finds it.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "core/error.hpp"
#include "library/latent_files.hpp"

namespace jahp {

// Codes of quality (steps of 0.05) that a model has, and the first one tried.
struct CodeRange {
    int lowest, highest, start;
};

// Sizes in bytes of a whole file: as near to `goal` as can be, never above `most`.
struct SizeGoal {
    double goal, most;
};

// The file that comes nearest to the goal, as far as steps of quality come to it; where one step changes the size by
// more than a fiftieth, symbols of the step above are trimmed until the file is just small enough. The highest
// quality's if that is still smaller.
//
// encode: code -> the file. trim: (code, factor of the rate) -> the file with symbols rounded by rate and distortion;
// empty where a model cannot. Error(usage) if the lowest quality takes more.
LatentFile fit(const std::function<LatentFile(int code)>& encode,
               const std::function<LatentFile(int code, double rate)>& trim, const CodeRange& codes,
               const SizeGoal& goal);

// What is said of a goal that the lowest quality misses by such a size.
Error too_small(const SizeGoal& goal, int lowest, std::size_t size);

// The file whose PSNR comes nearest to a wanted one; the lowest quality's if that is still better. encode: code -> the
// file, and its PSNR in dB. Error(usage) if the highest quality is worse by more than a step.
LatentFile fit_psnr(const std::function<std::pair<LatentFile, double>(int code)>& encode, const CodeRange& codes,
                    double psnr);

// In dB, at most 100, of the sum of so many samples' squared errors.
double psnr_of(std::uint64_t squares, std::uint64_t samples);
constexpr double kBestPsnr = 100;

}  // namespace jahp
