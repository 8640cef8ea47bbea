// SPDX-License-Identifier: Apache-2.0
// What is refused before a picture is encoded.
#pragma once

#include <cstdint>

#include "library/codec_model.hpp"
#include "library/picture.hpp"

namespace jahp {

// The nearest step of 1/20.
int quality_code(double quality);

// In steps of 1/20, and one that the model has. Error(usage) for another.
double checked_quality(const CodecModel& model, double quality);

// Error(image) for a picture that is too large.
void check_size(const PictureView& picture, std::uint64_t max_pixels);

}  // namespace jahp
