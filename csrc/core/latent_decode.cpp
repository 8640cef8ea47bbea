// SPDX-License-Identifier: Apache-2.0
#include "core/latent_decode.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::chrono::milliseconds kPollEvery{50};

const LatentWindow& checked(const LatentWindow& window, const StreamLayout& layout) {
    if (window.top < 0 || window.left < 0 || window.bottom > layout.height || window.right > layout.width ||
        window.height() < 1 || window.width() < 1)
        throw Error(Fault::usage, "the window is empty, or not inside of the latents");
    return window;
}

}  // namespace

LatentDecode::LatentDecode(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                           int threads, const LatentWindow& window)
    : model_(model), payload_(payload.begin(), payload.end()), layout_(layout), threads_(threads),
      window_(checked(window, layout)), rows_(window.height(), window.width(), model.latents()) {
    try {
        thread_ = std::thread(&LatentDecode::decode, this, false);
    } catch (const std::system_error&) {
        decode(true);
    }
}

LatentDecode::~LatentDecode() {
    {
        const std::scoped_lock lock(mutex_);
        given_up_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void LatentDecode::decode(bool alone) {
    std::uint32_t checksum = 0;
    std::exception_ptr failure;
    if (alone) finishing_ = true;  // nobody will take rows before the end
    try {
        checksum = decode_latents(
            model_, payload_, layout_, threads_,
            [&](Position at, std::span<const std::int32_t> y) {
                if (at.row >= window_.top && at.row < window_.bottom && at.column >= window_.left &&
                    at.column < window_.right)
                    rows_.put(at.row - window_.top, at.column - window_.left, y);
            },
            [&](int rows) { tell_and_wait(std::clamp(rows - window_.top, 0, window_.height())); });
    } catch (...) {  // carried over to whoever asks, whatever it is
        failure = std::current_exception();
    }
    {
        const std::scoped_lock lock(mutex_);
        over_ = true;
        failure_ = failure;
        checksum_ = checksum;
    }
    changed_.notify_all();
}

void LatentDecode::tell_and_wait(int rows) {
    std::unique_lock lock(mutex_);
    if (rows > final_) {
        final_ = rows;
        changed_.notify_all();
    }
    changed_.wait(lock, [&] { return given_up_ || finishing_ || final_ < wanted_ || final_ - taken_ <= kAhead; });
    if (given_up_) throw GivenUp();
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

std::vector<std::int32_t> LatentDecode::rows(int count, const Poll& poll) {
    if (count < 1) throw Error(Fault::usage, "count must be 1 or more");
    std::unique_lock lock(mutex_);
    check_unfinished();
    const int end = wanted_ = std::min(taken_ + std::min(count, window_.height()), window_.height());
    changed_.notify_all();
    wait(lock, poll, [&] { return final_ >= end || over_; });
    if (failure_) std::rethrow_exception(failure_);
    const int first = taken_;
    lock.unlock();
    std::vector<std::int32_t> out;
    out.reserve(static_cast<std::size_t>(end - first) * static_cast<std::size_t>(window_.width()) *
                static_cast<std::size_t>(model_.latents()));
    for (int row = first; row < end; ++row) rows_.take(row, out);
    lock.lock();
    taken_ = end;
    changed_.notify_all();
    return out;
}

std::uint32_t LatentDecode::finish(const Poll& poll) {
    std::unique_lock lock(mutex_);
    check_unfinished();
    finishing_ = true;
    changed_.notify_all();
    wait(lock, poll, [&] { return over_; });
    if (failure_) std::rethrow_exception(failure_);
    finished_ = true;
    return checksum_;
}

}  // namespace jahp
