// SPDX-License-Identifier: Apache-2.0
// A decode of latents in a thread of its own, of which a rectangle is kept, and handed over by rows while later ones
// are decoded.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/context_decoder.hpp"
#include "core/latent_rows.hpp"

namespace jahp {

struct LatentWindow {  // of positions of y
    int top = 0, bottom = 0, left = 0, right = 0;  // bottom and right lie behind the last
    int height() const { return bottom - top; }
    int width() const { return right - left; }
};

class LatentDecode {
public:
    // Final rows that may wait to be taken; then the decode does. So memory grows with the width, but for what the
    // entropy nets themselves hold.
    static constexpr int kAhead = 32;

    // Starts to decode. The payload is copied, the model must outlive this. Where the system has no thread to give,
    // decodes at once. Error(usage) for a window that is empty or not inside of y.
    LatentDecode(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                 int threads, const LatentWindow& window);
    // Of all of y.
    LatentDecode(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                 int threads)
        : LatentDecode(model, payload, layout, threads, {0, layout.height, 0, layout.width}) {}
    // Gives up what is not decoded.
    ~LatentDecode();
    LatentDecode(const LatentDecode&) = delete;
    LatentDecode& operator=(const LatentDecode&) = delete;

    // Waits for the next `count` rows of the window, fewer where it ends, and hands them over: (rows, width, M). Empty
    // behind the last one. Throws what the decode has thrown. What comes before finish() returns may be of a damaged
    // payload: only its end tells. `poll` is called every now and then while it waits; what that throws ends the wait.
    std::vector<std::int32_t> rows(int count, const Poll& poll = {});

    // Waits for the end, whatever has not been taken, and returns symbol_checksum() of all symbols. Throws what the
    // decode has thrown; Error(usage) for a second time, as rows() does after it.
    std::uint32_t finish(const Poll& poll = {});

    const EntropyModel& model() const { return model_; }
    const LatentWindow& window() const { return window_; }

private:
    struct GivenUp {};
    void decode(bool alone);
    void tell_and_wait(int rows);
    void check_unfinished() const;
    template <typename Holds>
    void wait(std::unique_lock<std::mutex>& lock, const Poll& poll, const Holds& holds);

    const EntropyModel& model_;
    const std::vector<std::uint8_t> payload_;
    const StreamLayout layout_;
    const int threads_;
    const LatentWindow window_;

    LatentRows rows_;  // the decoding thread's; below final_ whoever takes them
    std::mutex mutex_;  // over what follows; rows are counted in the window
    std::condition_variable changed_;
    int final_ = 0, taken_ = 0, wanted_ = 0;
    bool over_ = false, given_up_ = false, finishing_ = false, finished_ = false;
    std::exception_ptr failure_;
    std::uint32_t checksum_ = 0;

    std::thread thread_;
};

}  // namespace jahp
