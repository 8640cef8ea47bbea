// SPDX-License-Identifier: Apache-2.0
#include "core/park.hpp"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <synchapi.h>
#endif

namespace jahp {

#if defined(_WIN32)
static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
              std::atomic<std::uint32_t>::is_always_lock_free);

void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
    WaitOnAddress(const_cast<std::atomic<std::uint32_t>*>(&word), &old, sizeof old, INFINITE);
}
void wake_all(std::atomic<std::uint32_t>& word) { WakeByAddressAll(&word); }
#else
void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
    word.wait(old, std::memory_order_acquire);
}
void wake_all(std::atomic<std::uint32_t>& word) { word.notify_all(); }
#endif

}  // namespace jahp
