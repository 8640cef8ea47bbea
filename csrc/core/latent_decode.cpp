// SPDX-License-Identifier: Apache-2.0
#include "core/latent_decode.hpp"

#include <chrono>
#include <system_error>
#include <utility>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::chrono::milliseconds kPollEvery{50};

}  // namespace

LatentDecode::LatentDecode(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                           int threads)
    : model_(model), payload_(payload.begin(), payload.end()), layout_(layout), threads_(threads) {
    try {
        thread_ = std::thread(&LatentDecode::decode, this);
    } catch (const std::system_error&) {
        decode();
    }
}

LatentDecode::~LatentDecode() {
    {
        const std::scoped_lock lock(mutex_);
        given_up_ = true;
    }
    if (thread_.joinable()) thread_.join();
}

void LatentDecode::decode() {
    StageTimes times;
    std::exception_ptr failure;
    try {
        decode_latents(model_, payload_, layout_, threads_, latents_, &times, [&](int rows) {
            {
                const std::scoped_lock lock(mutex_);
                if (given_up_) throw GivenUp();
                final_ = rows;
            }
            changed_.notify_all();
        });
    } catch (...) {  // carried over to whoever asks, whatever it is
        failure = std::current_exception();
    }
    {
        const std::scoped_lock lock(mutex_);
        over_ = true;
        failure_ = failure;
        times_ = times;
    }
    changed_.notify_all();
}

void LatentDecode::check_unfinished() const {
    if (finished_) throw Error(Fault::usage, "the decode is finished");
}

template <typename Holds>
void LatentDecode::wait(std::unique_lock<std::mutex>& lock, const Poll& poll, const Holds& holds) {
    while (!changed_.wait_for(lock, kPollEvery, holds)) {
        if (!poll) continue;
        lock.unlock();  // it may take long, or wait for a lock of its own
        poll();
        lock.lock();
    }
}

std::span<const std::int32_t> LatentDecode::rows(int first, const Poll& poll) {
    std::unique_lock lock(mutex_);
    check_unfinished();
    if (first >= layout_.height) return {};
    wait(lock, poll, [&] { return final_ > first || over_; });
    if (failure_) std::rethrow_exception(failure_);
    const std::size_t pitch = static_cast<std::size_t>(layout_.width) * static_cast<std::size_t>(model_.latents());
    return {latents_.y.data() + static_cast<std::size_t>(first) * pitch,
            static_cast<std::size_t>(final_ - first) * pitch};
}

Latents LatentDecode::finish(StageTimes* times, const Poll& poll) {
    std::unique_lock lock(mutex_);
    check_unfinished();
    wait(lock, poll, [&] { return over_; });
    if (failure_) std::rethrow_exception(failure_);
    finished_ = true;
    if (times != nullptr) *times = times_;
    return std::exchange(latents_, {});
}

}  // namespace jahp
