// SPDX-License-Identifier: Apache-2.0
#include "core/park.hpp"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <synchapi.h>
#elif defined(__EMSCRIPTEN_PTHREADS__)
#include <emscripten/emscripten.h>
#endif

namespace jahp {

#if defined(_WIN32)
static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
              std::atomic<std::uint32_t>::is_always_lock_free);

void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
    WaitOnAddress(const_cast<std::atomic<std::uint32_t>*>(&word), &old, sizeof old, INFINITE);
}
void wake_all(std::atomic<std::uint32_t>& word) { WakeByAddressAll(&word); }
#elif defined(__EMSCRIPTEN_PTHREADS__)
constexpr std::int64_t
    kLookUpEvery = 100'000'000;  // nanoseconds: the clock ends who waits for a thread that has failed

int* address(const std::atomic<std::uint32_t>& word) {
    return reinterpret_cast<int*>(const_cast<std::atomic<std::uint32_t>*>(&word));
}
void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
    __builtin_wasm_memory_atomic_wait32(address(word), static_cast<int>(old), kLookUpEvery);
    emscripten_get_now();
}
void wake_all(std::atomic<std::uint32_t>& word) { __builtin_wasm_memory_atomic_notify(address(word), UINT32_MAX); }
#else
void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
    word.wait(old, std::memory_order_acquire);
}
void wake_all(std::atomic<std::uint32_t>& word) { word.notify_all(); }
#endif

}  // namespace jahp
