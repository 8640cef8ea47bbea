// SPDX-License-Identifier: Apache-2.0
#include "library/encoder_checks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "library/container.hpp"

namespace jahp {

int quality_code(double quality) { return static_cast<int>(std::nearbyint(quality * kQualitySteps)); }

double checked_quality(const CodecModel& model, double quality) {
    const std::vector<double>& qualities = model.config().qualities;
    const bool near = quality >= 1 && quality <= kMostQuality;
    const double rounded = near ? quality_code(quality) / double{kQualitySteps} : quality, low = qualities.front();
    const double high = low <= kLayerBase && qualities.back() == 8 ? kMostQuality : qualities.back();
    if (rounded >= low && rounded <= high) return rounded;
    const std::string has = high > low ? short_number(low) + " to " + short_number(high) : "only " + short_number(low);
    throw Error(Fault::usage,
                "quality " + short_number(quality) + " is not one that " + model.file().stem() + " has: " + has);
}

namespace {

void check_size(const PictureView& picture, std::uint64_t max_pixels) {
    const std::string pixels = std::to_string(picture.width) + " x " + std::to_string(picture.height) + " pixels";
    if (std::uint64_t(picture.width) * std::uint64_t(picture.height) > max_pixels)
        throw Error(Fault::image, pixels + " are more than max_pixels = " + std::to_string(max_pixels));
    if (std::max(picture.width, picture.height) > kMostSide)
        throw Error(Fault::image, pixels + ": a side may have " + std::to_string(kMostSide));
}

}  // namespace

EncoderOptions checked_options(PictureView& picture, const CodecModel* model, const EncoderOptions& options) {
    if (model == nullptr && !options.max_error)
        throw Error(Fault::usage, "a model is needed to encode: hand it over with jahp_encoder_set_model");
    EncoderOptions checked = options;
    if (model != nullptr) checked.quality = checked_quality(*model, options.quality);
    const bool layered = checked.quality > 8;
    if ((options.max_error || layered) && (options.max_bytes || options.target_bpp || options.target_psnr))
        throw Error(Fault::usage,
                    "effort, max_bytes, target_bpp and target_psnr are for qualities up to 8: leave them out with " +
                        (options.max_error ? "a bound on errors" : "quality " + short_number(checked.quality)));
    check_size(picture, options.max_pixels);
    if (picture.is_deep()) picture.widen();
    if (options.max_error && *options.max_error > most_error(picture.depth))
        throw Error(Fault::usage, "max_error must be 0 to " + std::to_string(most_error(picture.depth)) +
                                      " with samples of " + std::to_string(picture.depth) + " bits, not " +
                                      std::to_string(*options.max_error));
    if (options.target_psnr && (options.max_bytes || options.target_bpp))
        throw Error(Fault::usage, "target_psnr goes with neither max_bytes nor target_bpp: a file has one quality");
    return checked;
}

SizeGoal goal_of(const EncoderOptions& options, const PictureView& picture) {
    const double most = options.max_bytes ? static_cast<double>(*options.max_bytes)
                                          : std::numeric_limits<double>::infinity();
    const double pixels = static_cast<double>(picture.width) * picture.height;
    return {options.target_bpp ? std::min(most, *options.target_bpp * pixels / 8) : most, most};
}

}  // namespace jahp
