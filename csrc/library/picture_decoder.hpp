// SPDX-License-Identifier: Apache-2.0
// From a parsed file to its rows: latents, g_s, a layer over its pixels, a checksum, alpha; as jahp_fast.decoding does.
#pragma once

#include <memory>

#include "library/codec_model.hpp"
#include "library/view.hpp"

namespace jahp {

// Samples of some rows, from top to bottom.
class RowSource {
public:
    virtual ~RowSource() = default;
    // At least one row; nothing behind the last one. Error(format) in place of rows.
    virtual Samples next() = 0;
    // The same of 16 bits; a source is asked for one kind alone.
    virtual DeepSamples next_deep() { return widened(next()); }
};

class PictureDecoder {
public:
    struct Rows {
        int count = 0;
        Samples samples, alpha;  // alpha: empty where the file has none
        DeepSamples deep, deep_alpha;  // in place of these, where 16 bits are wanted
    };

    // model: null for a file of exact pixels. stream and poll must outlive this.
    PictureDecoder(const Stream& stream, std::shared_ptr<CodecModel> model, const View& view, int threads,
                   const Poll& poll);
    ~PictureDecoder();

    // The next rows of the view, none behind the last one. The last come when all has been found right. Error(format)
    // in place of rows.
    Rows next();

private:
    class Alpha;

    const Stream& stream_;
    const std::shared_ptr<CodecModel> model_;
    std::unique_ptr<RowSource> rows_;
    std::unique_ptr<Alpha> alpha_, alpha_rest_;  // the upper 8 bits, and for 16 the lower ones
    const View view_;
    const bool judged_deep_;  // a checksum of the pixels is of 16 bits, as those of a deep file's layer are
    int left_;
    std::uint32_t crc_ = 0;
};

}  // namespace jahp
