// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <exception>

#include "tests/check.hpp"

namespace jahp::test {
namespace {

constexpr int kShown = 20;  // failures printed in full; a broken kernel has millions
int failures = 0;

}  // namespace

std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

void fail(const char* file, int line, const std::string& what) {
    if (++failures <= kShown) std::cout << file << ':' << line << ": failed: " << what << '\n';
}

}  // namespace jahp::test

int main(int argc, char** argv) {
    using namespace jahp::test;
    int run = 0;
    for (const Case& c : cases()) {
        if (argc > 1 && std::strstr(c.name, argv[1]) == nullptr) continue;
        const int before = failures;
        try {
            c.run();
        } catch (const std::exception& e) {
            fail(c.name, 0, std::string("threw ") + message_of(e));
        }
        std::cout << (failures == before ? "passed " : "FAILED ") << c.name << '\n';
        ++run;
    }
    std::printf("%d tests, %d failures\n", run,
                failures);  // streams format numbers in libstdc++, which the memory sanitizer does not see
    return run == 0 || failures != 0;
}
