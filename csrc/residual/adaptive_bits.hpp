// SPDX-License-Identifier: Apache-2.0
// Bits with probabilities that learn: two models forecast each bit, a mixer weighs them, a binary range coder codes it
// (docs/reference/format.md, "Adaptive bits"). Integers alone, so that all machines agree.
//
//  * A BitModel holds the probability p / 65536 that its next bit is 1, and how often it was asked, up to a limit: it
//    moves by 1/2, 1/3 (as shifts: 1, 2 ...) at first and by 2^-kSlowest at last.
//  * Forecasts are mixed as logarithms of odds, times 256: stretch(p), for p of 12 bits; squash is its inverse. The
//    weights of a mixer (65536 is one) follow the gradient of the coded length, as in the PAQ family (M. Mahoney:
//    Adaptive weighing of context models for lossless data compression, 2005).
//  * The coder keeps range > 2^24 and takes (range >> 12) * p for a 1. Four bytes more than were shifted out end the
//    data; a decoder that has not read exactly the data's length has read damaged data. Behind the end it reads zeros.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace jahp {

// 4096 / (1 + e^(-x / 256)) for x = -2047 .. 2047, in 1 .. 4095. Beyond, that of the nearer end.
int squash(int x);
// The least x with squash(x) >= p, for p = 0 .. 4095; 2047 where there is none.
int stretch(int p);

namespace detail {
struct Tables {
    std::array<std::int16_t, 4096> squash;  // of x + 2048
    std::array<std::int16_t, 4096> stretch;
    std::array<std::uint16_t, 4096> cost;  // of what has p of 4096, in 2^-8 bits
};
extern const Tables tables;
}  // namespace detail

struct BitModel {
    static constexpr int kSlowest = 6;
    std::uint16_t p = 1 << 15;
    std::uint16_t asked = 0;

    void learn(bool bit) {
        asked = static_cast<std::uint16_t>(std::min(asked + 1, kSlowest));
        p = static_cast<std::uint16_t>(bit ? p + ((65536 - p) >> asked) : p - (p >> asked));
    }
};

struct Mixer {
    static constexpr std::int32_t kMost = 1 << 20;  // and least, below 0
    std::int32_t weight[2] = {36000, 36000};
};

// What two models and a mixer say of a bit, and how they learn of it.
class Forecast {
public:
    Forecast(BitModel& a, BitModel& b, Mixer& mixer)
        : a_(a), b_(b), mixer_(mixer), sa_(detail::tables.stretch[a.p >> 4]), sb_(detail::tables.stretch[b.p >> 4]) {
        const std::int64_t sum = std::int64_t{mixer.weight[0]} * sa_ + std::int64_t{mixer.weight[1]} * sb_;
        p_ = detail::tables.squash[static_cast<std::size_t>(std::clamp<std::int64_t>(sum >> 16, -2047, 2047) + 2048)];
    }
    // Of a 1, in 1 .. 4095 of 4096.
    std::uint32_t p() const { return static_cast<std::uint32_t>(p_); }

    void learn(bool bit) {
        const int error = (bit ? 4096 : 0) - p_;
        move(mixer_.weight[0], sa_ * error);
        move(mixer_.weight[1], sb_ * error);
        a_.learn(bit);
        b_.learn(bit);
    }

private:
    static constexpr int kMixShift = 11;
    static void move(std::int32_t& weight, int gradient) {
        weight = std::clamp(weight + ((gradient + (1 << (kMixShift - 1))) >> kMixShift), -Mixer::kMost, Mixer::kMost);
    }
    BitModel& a_;
    BitModel& b_;
    Mixer& mixer_;
    int sa_, sb_, p_;
};

// Bits of the same models, one behind the other, as long as they are 1: as `code` codes them, with the models at hand.
template <class Coder>
class Ones {
public:
    Ones(Coder& coder, BitModel& a, BitModel& b, Mixer& mixer)
        : coder_(coder), to_a_(a), to_b_(b), to_mixer_(mixer), a_(a), b_(b), mixer_(mixer) {}
    Ones(const Ones&) = delete;
    Ones& operator=(const Ones&) = delete;
    ~Ones() {
        to_a_ = a_;
        to_b_ = b_;
        to_mixer_ = mixer_;
    }
    // One more; a decoder's is false where the next bit is none, and then as if it had not been asked.
    bool next() {
        if (sure_) {
            if (!coder_.one(kSure)) return false;
            for (std::int32_t& weight : mixer_.weight) weight = std::min(weight + 1, Mixer::kMost);
            return true;
        }
        Forecast forecast(a_, b_, mixer_);
        if (!coder_.one(forecast.p())) return false;
        const std::uint32_t before = a_.p + b_.p;
        forecast.learn(true);
        sure_ = forecast.p() == kSure && a_.p + b_.p == before;
        return true;
    }

private:
    // Where neither model learns more and the likeliest is forecast, only the weights go on, by one at a time.
    static constexpr std::uint32_t kSure = 4095;
    Coder& coder_;
    BitModel &to_a_, &to_b_;
    Mixer& to_mixer_;
    BitModel a_, b_;
    Mixer mixer_;
    bool sure_ = false;
};

class BitEncoder {
public:
    static constexpr bool kDecodes = false;

    bool code(BitModel& a, BitModel& b, Mixer& mixer, bool bit) {
        Forecast forecast(a, b, mixer);
        put(bit, forecast.p());
        forecast.learn(bit);
        return bit;
    }
    // A bit that is 1 every other time.
    bool plain(bool bit) {
        put(bit, 2048);
        return bit;
    }
    // A 1, of probability p.
    bool one(std::uint32_t p) {
        put(true, p);
        return true;
    }
    // The data. The encoder is as new afterwards.
    std::vector<std::uint8_t> finish();

private:
    void put(bool bit, std::uint32_t p) {
        const std::uint32_t bound = (range_ >> 12) * p;
        if (bit) {
            range_ = bound;
        } else {
            low_ += bound;
            if (low_ < bound) carry();
            range_ -= bound;
        }
        while (range_ < 1u << 24) {
            bytes_.push_back(static_cast<std::uint8_t>(low_ >> 24));
            low_ <<= 8;
            range_ <<= 8;
        }
    }
    void carry();

    std::vector<std::uint8_t> bytes_;
    std::uint32_t low_ = 0, range_ = 0xFFFFFFFF;
};

// What a BitEncoder would spend, in place of its data.
class BitCounter {
public:
    static constexpr bool kDecodes = false;

    bool code(BitModel& a, BitModel& b, Mixer& mixer, bool bit) {
        Forecast forecast(a, b, mixer);
        spent_ += detail::tables.cost[bit ? forecast.p() : 4096 - forecast.p()];
        forecast.learn(bit);
        return bit;
    }
    bool one(std::uint32_t p) {
        spent_ += detail::tables.cost[p];
        return true;
    }
    // In 2^-8 bits, since the last call.
    std::uint32_t spent() { return std::exchange(spent_, 0); }

private:
    std::uint32_t spent_ = 0;
};

class BitDecoder {
public:
    static constexpr bool kDecodes = true;

    // The data must stay alive and unchanged.
    explicit BitDecoder(std::span<const std::uint8_t> data) : data_(data) {
        for (int i = 0; i < 4; ++i) shift();
    }
    // As BitEncoder's, whose arguments they get but for the bits, which they give.
    bool code(BitModel& a, BitModel& b, Mixer& mixer, bool) {
        Forecast forecast(a, b, mixer);
        const bool bit = get(forecast.p());
        forecast.learn(bit);
        return bit;
    }
    bool plain(bool) { return get(2048); }
    bool one(std::uint32_t p) { return code_ < (range_ >> 12) * p && get(p); }

    // Whether exactly the data were read.
    bool complete() const { return at_ == data_.size(); }

private:
    bool get(std::uint32_t p) {
        const std::uint32_t bound = (range_ >> 12) * p;
        const bool bit = code_ < bound;
        if (bit) {
            range_ = bound;
        } else {
            code_ -= bound;
            range_ -= bound;
        }
        while (range_ < 1u << 24) {
            shift();
            range_ <<= 8;
        }
        return bit;
    }
    void shift() {
        code_ = code_ << 8 | (at_ < data_.size() ? data_[at_] : 0u);
        ++at_;
    }

    std::span<const std::uint8_t> data_;
    std::size_t at_ = 0;
    std::uint32_t code_ = 0, range_ = 0xFFFFFFFF;
};

}  // namespace jahp
