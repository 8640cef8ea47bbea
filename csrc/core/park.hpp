// SPDX-License-Identifier: Apache-2.0
// Threads that wait for a word to change: what std::atomic's wait() and notify_all() do, where that can be trusted.
// With mingw-w64 it cannot: libstdc++ 12 has no call of Windows's below it, and a sleeper was never woken now and then.
// In WebAssembly it would poll.
#pragma once

#include <atomic>
#include <cstdint>

namespace jahp {

// Returns when the word is another than `old`, or at any time before.
void park_while(const std::atomic<std::uint32_t>& word, std::uint32_t old);
// Of all threads that wait for it. To be called after the word has changed.
void wake_all(std::atomic<std::uint32_t>& word);

}  // namespace jahp
