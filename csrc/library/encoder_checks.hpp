// SPDX-License-Identifier: Apache-2.0
// What is refused before a picture is encoded.
#pragma once

#include "library/codec_model.hpp"
#include "library/picture_encoder.hpp"
#include "library/rate_control.hpp"

namespace jahp {

// The nearest step of 1/20.
int quality_code(double quality);

// In steps of 1/20, and one that the model has. Error(usage) for another.
double checked_quality(const CodecModel& model, double quality);

// The options with such a quality; deep samples are widened. Error(image) for a picture that is too large, Error(usage)
// for options that contradict it, each other or the model, which is null where there is none.
EncoderOptions checked_options(PictureView& picture, const CodecModel* model, const EncoderOptions& options);

// What they say of a file's size; they say something.
SizeGoal goal_of(const EncoderOptions& options, const PictureView& picture);

}  // namespace jahp
