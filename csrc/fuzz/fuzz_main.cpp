// SPDX-License-Identifier: Apache-2.0
// The driver of the fuzz targets where there is no libFuzzer:
//     fuzz_<target> [inputs = 20000] [first = 0]   inputs number first, first + 1, ...: seeds, mutated. `fuzz_<target>
//     1 NUMBER` runs one again. fuzz_<target> --replay PATH...               files, and all files of folders
//     fuzz_<target> --seeds FOLDER                 writes the seeds there: what libFuzzer starts from
// An input that aborts is named.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>

#include "fuzz/fuzz.hpp"

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kSeeds = 64;
std::string current;

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
            case 2:
                data.resize(at);
                break;
            case 3:
                data.insert(here, 1 + below(8), static_cast<std::uint8_t>(random()));
                break;
            case 4:
                data.erase(here, here + static_cast<std::ptrdiff_t>(below(data.size() - at + 1)));
                break;
            case 5: {  // numbers that overflow what is computed from them
                constexpr std::uint32_t edges[] = {0,       1,          0x7fff,     0x8000,    0xffff,
                                                   0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
                const std::uint32_t value = edges[below(std::size(edges))];
                for (std::size_t i = 0; i < 4 && at + i < data.size(); ++i)
                    data[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
                break;
            }
            default: {  // the tail of another seed
                const Bytes other = fuzz_seed(random() % kSeeds);
                data.resize(at);
                if (at < other.size())
                    data.insert(data.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
            }
        }
    }
#ifdef JAHP_FUZZ_REPAIRS
    return fuzz_repaired(std::move(data), number);
#else
    return data;
#endif
}

int replay(int count, char** paths) {
    std::vector<fs::path> files;
    for (int i = 0; i < count; ++i) {
        if (!fs::is_directory(paths[i])) {
            files.emplace_back(paths[i]);
            continue;
        }
        for (const fs::directory_entry& entry : fs::directory_iterator(paths[i])) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files) {
        current = path.string();
        std::ifstream file(path, std::ios::binary);
        fuzz_require(file.is_open(), "cannot be read");
        const Bytes data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        LLVMFuzzerTestOneInput(data.data(), data.size());
    }
    std::printf("%zu inputs\n", files.size());
    return files.empty() ? 1 : 0;
}

int write_seeds(const fs::path& folder) {
    fs::create_directories(folder);
    for (std::uint32_t n = 0; n < kSeeds; ++n) {
        const Bytes seed = fuzz_seed(n);
        std::ofstream(folder / ("seed-" + std::to_string(n)), std::ios::binary)
            .write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    }
    return 0;
}

}  // namespace

void fuzz_require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "input %s: %s\n", current.c_str(), what);
    std::abort();
}

int main(int argc, char** argv) {
    const std::string option = argc > 2 ? argv[1] : "";
    if (option == "--replay") return replay(argc - 2, argv + 2);
    if (option == "--seeds") return write_seeds(argv[2]);
    const auto argument = [&](int i, unsigned long otherwise) {
        return argc > i ? std::strtoul(argv[i], nullptr, 10) : otherwise;
    };
    const auto inputs = static_cast<std::uint32_t>(argument(1, 20000)),
               first = static_cast<std::uint32_t>(argument(2, 0));
    for (std::uint32_t i = 0; i < inputs; ++i) {
        current = std::to_string(first + i);
        const Bytes data = mutated(first + i);
        LLVMFuzzerTestOneInput(data.data(), data.size());
    }
    std::printf("%u inputs\n", inputs);
    return 0;
}
