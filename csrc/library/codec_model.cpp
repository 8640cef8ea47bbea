// SPDX-License-Identifier: Apache-2.0
#include "library/codec_model.hpp"

#include "core/error.hpp"
#include "library/copy_map.hpp"

namespace jahp {

const EntropyModel& CodecModel::entropy() {
    const std::scoped_lock lock(mutex_);
    if (entropy_ == nullptr)
        entropy_ = std::make_unique<const EntropyModel>(entropy_tensors(config(), file_.entropy()), isa_);
    return *entropy_;
}

const SymbolBits& CodecModel::bits() {
    const std::scoped_lock lock(mutex_);
    if (bits_ == nullptr) bits_ = std::make_unique<const SymbolBits>(config().prob_bits, file_.entropy());
    return *bits_;
}

StreamLayout CodecModel::layout(const Stream& stream) const {
    const double quality = stream.quality();
    if (quality < config().qualities.front() || quality > config().qualities.back())
        throw Error(Fault::format, "stream of quality " + short_number(quality) + ", which its model does not have");
    const int h = up(stream.height, kStride), w = up(stream.width, kStride);
    StreamLayout layout{
        h, w, stream.lanes, stream.skip, least_payload(stream.width, stream.height), {}, file_.z_row(quality)};
    if (const BytesView* chunk = stream.chunk("COPY")) {
        const MapSize z = config().hyper_latents > 0 ? MapSize{up(h, 4), up(w, 4)} : MapSize{0, 0};
        layout.copies = unpack_copies(*chunk, z, {h, w});
    }
    return layout;
}

}  // namespace jahp
