// SPDX-License-Identifier: Apache-2.0
#include "library/encoder_checks.hpp"

#include <algorithm>
#include <cmath>
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

void check_size(const PictureView& picture, std::uint64_t max_pixels) {
    const std::string pixels = std::to_string(picture.width) + " x " + std::to_string(picture.height) + " pixels";
    if (std::uint64_t(picture.width) * std::uint64_t(picture.height) > max_pixels)
        throw Error(Fault::image, pixels + " are more than max_pixels = " + std::to_string(max_pixels));
    if (std::max(picture.width, picture.height) > kMostSide)
        throw Error(Fault::image, pixels + ": a side may have " + std::to_string(kMostSide));
}

}  // namespace jahp
