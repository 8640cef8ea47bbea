// SPDX-License-Identifier: Apache-2.0
// How one symbol is coded: what the nets hand to the range coder.
#pragma once

#include <cstdint>

namespace jahp {

struct Symbol {
    std::int32_t row;   // of the tables; -1: not coded, its scale index is below the skip threshold
    std::int32_t mean;  // with the model's mean_bits of fraction
};

}  // namespace jahp
