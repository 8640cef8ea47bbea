// SPDX-License-Identifier: Apache-2.0
// The few things that the C++ tests need of a framework: TEST registers, CHECK* count and print failures, CHECK_FAULT
// expects an Error. check_main.cpp runs what is registered; an argument picks the tests whose name holds it.
#pragma once

#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define JAHP_MSAN
#endif
#endif

namespace jahp::test {

inline const char* message_of(const std::exception& e) {
#ifdef JAHP_MSAN  // which does not see what libstdc++ writes: the exception, what points to its message, the message's
                  // end
    __msan_unpoison(&e, sizeof e);
    const char* message = e.what();
    __msan_unpoison(&message, sizeof message);
    __msan_unpoison_string(message);
    return message;
#else
    return e.what();
#endif
}

struct Case {
    const char* name;
    void (*run)();
};

std::vector<Case>& cases();
void fail(const char* file, int line, const std::string& what);

struct Registrar {
    Registrar(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

template <typename A, typename B>
void check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
    if (a == b) return;
    if constexpr (requires { std::cout << a << b; }) {
        std::cout << "  left " << a << ", right " << b << '\n';
    }
    fail(file, line, text);
}

template <typename F>
void check_fault(Fault fault, const char* message, const F& run, const char* text, const char* file, int line) {
    try {
        run();
    } catch (const Error& e) {
        if (e.fault() == fault && std::string(message_of(e)).find(message) != std::string::npos) return;
        return fail(file, line, std::string(text) + " threw: " + message_of(e));
    }
    fail(file, line, std::string(text) + " threw nothing");
}

// Portable: the standard fixes mt19937's numbers, but not those of its distributions. low <= result <= high.
class Random {
public:
    explicit Random(std::uint32_t seed) : engine_(seed) {}
    std::int64_t operator()(std::int64_t low, std::int64_t high) {
        const std::uint64_t upper = engine_();  // two calls in one expression would leave their order to the compiler
        const std::uint64_t bits = upper << 32 | engine_();
        return low + static_cast<std::int64_t>(bits % static_cast<std::uint64_t>(high - low + 1));
    }
    template <typename T>
    std::vector<T> many(std::size_t count, std::int64_t low, std::int64_t high) {
        std::vector<T> out(count);
        for (T& v : out) v = static_cast<T>((*this)(low, high));
        return out;
    }

private:
    std::mt19937 engine_;
};

}  // namespace jahp::test

#define TEST(name)                                                      \
    static void name();                                                 \
    static const ::jahp::test::Registrar name##_registrar{#name, name}; \
    static void name()
#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) ::jahp::test::fail(__FILE__, __LINE__, #condition); \
    } while (false)
#define CHECK_EQ(a, b) ::jahp::test::check_equal((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_FAULT(fault, message, ...) \
    ::jahp::test::check_fault(::jahp::Fault::fault, message, [&] { __VA_ARGS__; }, #__VA_ARGS__, __FILE__, __LINE__)
