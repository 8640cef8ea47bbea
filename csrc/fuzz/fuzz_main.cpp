// SPDX-License-Identifier: Apache-2.0
// fuzz_<target> [inputs = 20000] [first = 0]: feeds inputs number first, first + 1, ... to the target. An input that aborts is
// named by its number, and `fuzz_<target> 1 NUMBER` runs it again.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "fuzz/fuzz.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kSeeds = 64;
std::uint32_t current = 0;

Bytes mutated(std::uint32_t number) {
    std::mt19937 random(number);
    const auto below = [&random](std::size_t n) { return n == 0 ? 0 : random() % n; };
    Bytes data = fuzz_seed(number % kSeeds);
    for (std::size_t changes = number < kSeeds ? 0 : 1 + below(4); changes > 0; --changes) {
        const std::size_t at = below(data.size());
        const auto here = data.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(7)) {
            case 0:
                if (!data.empty()) *here ^= static_cast<std::uint8_t>(1u << below(8));
                break;
            case 1:
                if (!data.empty()) *here = static_cast<std::uint8_t>(random());
                break;
            case 2: data.resize(at); break;
            case 3: data.insert(here, 1 + below(8), static_cast<std::uint8_t>(random())); break;
            case 4: data.erase(here, here + static_cast<std::ptrdiff_t>(below(data.size() - at + 1))); break;
            case 5: {  // numbers that overflow what is computed from them
                constexpr std::uint32_t edges[] = {0, 1, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
                const std::uint32_t value = edges[below(std::size(edges))];
                for (std::size_t i = 0; i < 4 && at + i < data.size(); ++i) data[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
                break;
            }
            default: {  // the tail of another seed
                const Bytes other = fuzz_seed(random() % kSeeds);
                data.resize(at);
                if (at < other.size()) data.insert(data.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
            }
        }
    }
    return data;
}

}  // namespace

void fuzz_require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "input %u: %s\n", current, what);
    std::abort();
}

int main(int argc, char** argv) {
    const auto argument = [&](int i, unsigned long otherwise) { return argc > i ? std::strtoul(argv[i], nullptr, 10) : otherwise; };
    const auto inputs = static_cast<std::uint32_t>(argument(1, 20000)), first = static_cast<std::uint32_t>(argument(2, 0));
    for (current = first; current - first < inputs; ++current) {
        const Bytes data = mutated(current);
        LLVMFuzzerTestOneInput(data.data(), data.size());
    }
    std::printf("%u inputs\n", inputs);
    return 0;
}
