// SPDX-License-Identifier: Apache-2.0
// The golden models and streams, for tests and fuzz targets of the C interface.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/crc32c.hpp"

namespace jahp::test {

using FileBytes = std::vector<std::uint8_t>;

inline FileBytes read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::filesystem::path golden(const std::string& name) { return std::filesystem::path(JAHP_GOLDEN) / name; }

// The golden files with that suffix, by name.
inline std::vector<std::filesystem::path> golden_files(const std::string& suffix) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(JAHP_GOLDEN))
        if (entry.path().extension() == suffix) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

// Makes the CRC of a file true again; of fewer bytes than a header nothing is.
inline void repair_crc(FileBytes& file) {
    if (file.size() < 44) return;
    const std::span<const std::uint8_t> bytes(file);
    const std::uint32_t crc = crc32c(bytes.subspan(44), crc32c(bytes.first(40)));
    for (std::size_t i = 0; i < 4; ++i) file[40 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
}

}  // namespace jahp::test
