// SPDX-License-Identifier: Apache-2.0
// A decode of latents in a thread of its own, whose rows can be used while later ones are decoded.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/context_decoder.hpp"

namespace jahp {

class LatentDecode {
public:
    // Starts to decode. The payload is copied, the model must outlive this. Where the system has no thread to give,
    // decodes at once.
    LatentDecode(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                 int threads);
    // Gives up what is not decoded.
    ~LatentDecode();
    LatentDecode(const LatentDecode&) = delete;
    LatentDecode& operator=(const LatentDecode&) = delete;

    // Waits until more than `first` rows of y are final and returns them, (rows, width, M) from row `first` on; valid
    // until finish(). Empty if `first` is the height or more. Throws what the decode has thrown. What is handed out
    // before finish() returns may be of a damaged payload: only its end tells. `poll` is called every now and then
    // while it waits; what that throws ends the wait.
    std::span<const std::int32_t> rows(int first, const Poll& poll = {});

    // Waits for the end. Throws what the decode has thrown; Error(usage) for a second time, as rows() does after it.
    Latents finish(StageTimes* times = nullptr, const Poll& poll = {});

    const EntropyModel& model() const { return model_; }
    const StreamLayout& layout() const { return layout_; }

private:
    struct GivenUp {};
    void decode();
    void check_unfinished() const;
    template <typename Holds>
    void wait(std::unique_lock<std::mutex>& lock, const Poll& poll, const Holds& holds);

    const EntropyModel& model_;
    const std::vector<std::uint8_t> payload_;
    const StreamLayout layout_;
    const int threads_;

    Latents latents_;  // the decoding thread's: others read rows below final_, and all once it is over
    std::mutex mutex_;  // over what follows
    std::condition_variable changed_;
    int final_ = 0;
    bool over_ = false, given_up_ = false, finished_ = false;
    std::exception_ptr failure_;
    StageTimes times_;

    std::thread thread_;
};

}  // namespace jahp
