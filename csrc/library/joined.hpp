// SPDX-License-Identifier: Apache-2.0
// Lists in messages and manifests.
#pragma once

#include <string>

namespace jahp {

// The texts that `text` makes of the items, with a separator between them.
template <typename Items, typename Text>
std::string joined(const Items& items, const char* separator, const Text& text) {
    std::string out;
    bool first = true;
    for (const auto& item : items) {
        if (!first) out.append(separator);
        out.append(text(item));
        first = false;
    }
    return out;
}

}  // namespace jahp
