// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "library/container.hpp"

namespace jahp {

// The chunks of a file in the making, whose data it owns.
class OwnChunks {
public:
    void put(const std::string& type, Bytes data) {
        for (auto& [name, old] : chunks_)
            if (name == type) {
                old = std::move(data);
                return;
            }
        chunks_.emplace_back(type, std::move(data));
    }
    void put_first(const std::string& type, Bytes data) { chunks_.emplace(chunks_.begin(), type, std::move(data)); }
    bool has(const std::string& type) const {
        return std::any_of(chunks_.begin(), chunks_.end(), [&](const auto& chunk) { return chunk.first == type; });
    }
    Chunks views() const { return {chunks_.begin(), chunks_.end()}; }

private:
    std::vector<std::pair<std::string, Bytes>> chunks_;
};

}  // namespace jahp
