// SPDX-License-Identifier: Apache-2.0
// The quality at which an image's file has a wanted size, as jahp_fast.search.rate_control finds it.
#pragma once

#include <cstdint>
#include <functional>

#include "library/container.hpp"

namespace jahp {

// The largest file that is not larger than `most` bytes, as near as steps of quality come to it; where one step changes
// the size by more than a fiftieth, symbols of the step above are trimmed until the file is just small enough. The
// highest quality's if that is still smaller.
//
// encode: quality code (steps of 0.05) -> the file. trim: (code, factor of the rate) -> the file with symbols rounded
// by rate and distortion; empty where a model cannot. lowest, highest: codes that the model has. start: the first one
// tried. Error(usage) if the lowest quality takes more.
Bytes fit(const std::function<Bytes(int code)>& encode, const std::function<Bytes(int code, double rate)>& trim,
          int lowest, int highest, int start, std::uint64_t most);

}  // namespace jahp
