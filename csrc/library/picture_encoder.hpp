// SPDX-License-Identifier: Apache-2.0
// From a picture to a file: prepare, analyse, round, code, pack; as jahp_fast.encoding does at effort 0, byte for byte.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "library/codec_model.hpp"
#include "library/picture.hpp"

namespace jahp {

struct EncoderOptions {
    double quality = 4;
    std::optional<std::uint64_t> max_bytes;
    std::optional<double> target_bpp, target_psnr;
    std::optional<int> max_error;  // 0 to most_error of the picture's bits
    bool pixel_checksum = false;
    bool drawings = true;  // keep them by themselves where that costs less
    int threads = 1;
    std::uint64_t max_pixels = 0;
    std::vector<std::pair<std::string, Bytes>> chunks;  // metadata
};

// model: may be null with a max_error. Error(usage) for options that contradict each other or the model, and for a size
// that cannot be reached, Error(image) for a picture that is too large or whose latents cannot be coded, Error(model).
Bytes encode_picture(PictureView picture, const std::shared_ptr<CodecModel>& model, const EncoderOptions& options,
                     const Poll& poll);

}  // namespace jahp
