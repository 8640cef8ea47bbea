// SPDX-License-Identifier: Apache-2.0
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <system_error>

#include "core/error.hpp"
#include "library/byte_source.hpp"

namespace jahp {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& why) {
    throw Error(Fault::model, "cannot read the model file " + path + ": " + why);
}

[[noreturn]] void fail(const std::string& path, DWORD error) {
    // In the words of other systems, where there are any.
    const std::error_code code(static_cast<int>(error), std::system_category());
    fail(path, code.default_error_condition().message());
}

std::wstring wide(const std::string& path) {
    const int size = static_cast<int>(path.size());
    const int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, nullptr, 0);
    if (length == 0) fail(path, path.empty() ? "it has no name" : "its name is not UTF-8");
    std::wstring text(static_cast<std::size_t>(length), L'\0');
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), size, text.data(), length);
    return text;
}

// The path from its drive or server on. Beyond MAX_PATH characters Windows wants to be told that no more is to be
// done to it.
std::wstring whole(const std::string& path) {
    const std::wstring text = wide(path);
    std::wstring full(GetFullPathNameW(text.c_str(), 0, nullptr, nullptr), L'\0');
    full.resize(GetFullPathNameW(text.c_str(), static_cast<DWORD>(full.size()), full.data(), nullptr));
    if (full.size() < MAX_PATH || full.starts_with(L"\\\\?\\") || full.starts_with(L"\\\\.\\")) return full;
    return full.starts_with(L"\\\\") ? L"\\\\?\\UNC" + full.substr(1) : L"\\\\?\\" + full;
}

class File : public ByteSource {
public:
    // Others may write, rename and remove it meanwhile, as elsewhere. Folders are opened too, to be told apart.
    explicit File(const std::string& path)
        : path_(path),
          handle_(CreateFileW(whole(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                              nullptr, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr)) {
        if (handle_ == INVALID_HANDLE_VALUE) fail(path_, GetLastError());
        BY_HANDLE_FILE_INFORMATION status;
        if (GetFileType(handle_) == FILE_TYPE_DISK && GetFileInformationByHandle(handle_, &status) != 0 &&
            (status.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0) {
            size_ = std::uint64_t{status.nFileSizeHigh} << 32 | status.nFileSizeLow;
            return;
        }
        CloseHandle(handle_);
        fail(path_, "it is no regular file");
    }
    ~File() override { CloseHandle(handle_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::uint64_t size() const override { return size_; }
    void read(std::uint64_t at, std::span<std::uint8_t> out) const override {
        while (!out.empty()) {
            OVERLAPPED place{};  // the handle's own would be shared by all threads
            place.Offset = static_cast<DWORD>(at);
            place.OffsetHigh = static_cast<DWORD>(at >> 32);
            const auto wanted = static_cast<DWORD>(std::min<std::size_t>(out.size(), std::size_t{1} << 30));
            DWORD count = 0;
            if (ReadFile(handle_, out.data(), wanted, &count, &place) == 0) {
                const DWORD error = GetLastError();
                if (error != ERROR_HANDLE_EOF) fail(path_, error);
                count = 0;
            }
            if (count == 0) throw_early_end(path_);
            out = out.subspan(count);
            at += count;
        }
    }

private:
    const std::string path_;
    const HANDLE handle_;
    std::uint64_t size_ = 0;
};

}  // namespace

const char* const kPathSeparators = "/\\:";

std::unique_ptr<ByteSource> file_source(const std::string& path) { return std::make_unique<File>(path); }

}  // namespace jahp
