// SPDX-License-Identifier: Apache-2.0
// Objects that change while they work are of one thread at a time. The interpreter lock sees to that neither where it
// is released nor where there is none.
#pragma once

#include <atomic>
#include <string>

#include "core/error.hpp"

namespace jahp::bind {

// A member of such an object.
using Busy = std::atomic<bool>;

// A call of it: Error(usage) while another thread is within one. Nobody waits, so no lock can be missed.
class Turn {
public:
    // Null: of nothing.
    Turn(Busy* busy, const char* name) : busy_(busy) {
        if (busy_ != nullptr && busy_->exchange(true, std::memory_order_acquire))
            throw Error(Fault::usage, std::string(name) + " is at work in another thread: give each thread its own");
    }
    ~Turn() {
        if (busy_ != nullptr) busy_->store(false, std::memory_order_release);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    Busy* busy_;
};

}  // namespace jahp::bind
