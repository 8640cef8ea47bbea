// SPDX-License-Identifier: Apache-2.0
// What becomes of a symbol once its table entry is known, or of a latent that is to be coded: its value, what it shows
// the networks, and faults. All threads of a block share in it.
#pragma once

#include "coder.cuh"

namespace jahp::cuda {

// What the symbols of a source mean. plain: z, which has no mean and is always coded.
struct Reveal {
    const DeviceModel& model;
    const TableRow* table;
    bool plain;
    JAHP_DEVICE bool form_b() const { return !plain && model.form_b != 0; }
    JAHP_DEVICE int bits() const { return plain ? 0 : model.mean_bits; }

    // What is left of a symbol that is not coded.
    JAHP_DEVICE std::int32_t skipped(std::int32_t mean) const {
        return form_b() ? mean : (mean + (1 << bits() >> 1)) >> bits();
    }

    // Added to an entry's value; form B adds the mean later.
    JAHP_DEVICE std::int32_t shift(std::int32_t mean) const { return form_b() ? 0 : mean >> bits(); }

    // A code of the coder -> what the decoder sees. status: kSound, or what is wrong.
    JAHP_DEVICE std::int32_t decoded(std::int32_t row, std::int32_t mean, std::int32_t code,
                                     std::int32_t& status) const {
        const std::int32_t most = form_b() ? kMostSymbol << bits() : kMostSymbol;
        std::int32_t value;
        if (row < 0) {
            value = skipped(mean);
        } else {
            const std::int32_t low = table[row].low, size = table[row].size;
            if ((code & kEscapedCode) != 0) {
                value = static_cast<std::int16_t>(code & 0xffff);
                const std::int32_t entry = value - shift(mean) - low;
                if (entry >= 0 && entry < size) status = kNeedlessEscape;
            } else {
                value = low + code + shift(mean);
            }
            if (value > kMostSymbol || value < -kMostSymbol) status = kBeyond;
            if (form_b() && status == kSound) value = value * (1 << bits()) + mean;
        }
        if (status == kSound && (value > most || value < -most)) status = kBeyond;
        return value;
    }

    // A latent to be coded -> what the decoder will see; the host finds values that are beyond their range.
    JAHP_DEVICE std::int32_t wanted(std::int32_t row, std::int32_t mean, std::int32_t latent) const {
        if (row < 0) return skipped(mean);
        if (!form_b()) return latent;
        const std::int64_t residual = (std::int64_t{latent} - mean + (1 << bits() >> 1)) >> bits();
        return static_cast<std::int32_t>(residual * (1 << bits()) + mean);
    }
};

}  // namespace jahp::cuda
