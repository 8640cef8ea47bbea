// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "core/error.hpp"
#include "library/byte_source.hpp"

namespace jahp {
namespace {

class File : public ByteSource {
public:
    explicit File(const std::string& path)
        : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
        if (descriptor_ < 0) fail(errno);
        struct stat status{};
        const bool known = ::fstat(descriptor_, &status) == 0;
        const int error = errno;
        if (known && S_ISREG(status.st_mode)) {
            size_ = static_cast<std::uint64_t>(status.st_size);
            return;
        }
        ::close(descriptor_);
        if (!known) fail(error);
        throw Error(Fault::model, "cannot read the model file " + path + ": it is no regular file");
    }
    ~File() override { ::close(descriptor_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::uint64_t size() const override { return size_; }
    void read(std::uint64_t at, std::span<std::uint8_t> out) const override {
        while (!out.empty()) {
            const ssize_t count = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(at));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail(errno);
            if (count == 0) throw_early_end(path_);
            out = out.subspan(static_cast<std::size_t>(count));
            at += static_cast<std::uint64_t>(count);
        }
    }

private:
    [[noreturn]] void fail(int error) const {
        throw Error(Fault::model,
                    "cannot read the model file " + path_ + ": " + std::generic_category().message(error));
    }

    const std::string path_;
    const int descriptor_;
    std::uint64_t size_ = 0;
};

}  // namespace

const char* const kPathSeparators = "/";

std::unique_ptr<ByteSource> file_source(const std::string& path) { return std::make_unique<File>(path); }

}  // namespace jahp
