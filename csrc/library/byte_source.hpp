// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a model file come from: memory, or a file of this system.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace jahp {

// Bytes that can be read anywhere, by several threads at a time.
class ByteSource {
public:
    virtual ~ByteSource() = default;
    virtual std::uint64_t size() const = 0;
    // Fills `out`; Error(model) if there are not as many bytes from `at` on.
    virtual void read(std::uint64_t at, std::span<std::uint8_t> out) const = 0;
};

// What read() throws then.
[[noreturn]] void throw_early_end(const std::string& name);

// Copies the bytes. `name` is for messages.
std::unique_ptr<ByteSource> memory_source(std::span<const std::uint8_t> data, const std::string& name);

// The file stays open: what is read later is of the file that was opened, even if its name is another's by then. Read,
// not mapped: a file that is cut short under a mapping ends the process. `path` is UTF-8 on Windows, and bytes
// elsewhere. Error(model) if it cannot be opened, or is no regular file.
std::unique_ptr<ByteSource> file_source(const std::string& path);

// What may stand before the last part of such a path.
extern const char* const kPathSeparators;

}  // namespace jahp
