// SPDX-License-Identifier: Apache-2.0
#include "library/model_file.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"
#include "library/sha256.hpp"

namespace jahp {
namespace {

constexpr const char* kVersion = "1";

std::string metadata_of(const TensorFile& file, const char* name) {
    const auto found = file.metadata().find(name);
    return found == file.metadata().end() ? "" : found->second;
}

bool is_hash(const std::string& text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool of_integers(DType type) {
    return type == DType::u8 || type == DType::u16 || type == DType::i16 || type == DType::i32;
}

// What would end a line beside the line feed in a manifest that is read line by line.
bool ends_lines(const std::string& text) {
    static constexpr const char* kEnds[] = {"\r",   "\x0b",     "\x0c",         "\x1c",        "\x1d",
                                            "\x1e", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    return std::any_of(std::begin(kEnds), std::end(kEnds),
                       [&](const char* end) { return text.find(end) != std::string::npos; });
}

}  // namespace

ModelFile::ModelFile(std::unique_ptr<ByteSource> source, const std::string& name)
    : name_(name), file_(std::move(source), name) {
    if (metadata_of(file_, "jahp") != kVersion)
        refuse("is a safetensors file, but not an exported jahp model of version 1");
    const std::string manifest = metadata_of(file_, "manifest");
    const auto digest = sha256({reinterpret_cast<const std::uint8_t*>(manifest.data()), manifest.size()});
    std::copy_n(digest.begin(), id_.size(), id_.begin());
    list(manifest, false);
    list(metadata_of(file_, "views"), true);
    for (const bool views : {false, true}) {
        for (const std::string& tensor : file_.names()) {
            if (tensor.starts_with("view.") != views) continue;
            const std::string line = hashes_.at(tensor), kind = tensor + " " + file_.kind(tensor) + " ";
            if (!line.starts_with(kind) || !is_hash(line.substr(kind.size())))
                refuse("tensor " + tensor + " does not match the manifest");
            if ((tensor.starts_with("transform.") || views) && !of_integers(file_.type(tensor)))
                refuse("tensor " + tensor + " has the dtype " + dtype_code(file_.type(tensor)) +
                       "; transforms have one of U8, U16, I16, I32");
            hashes_[tensor] = line.substr(kind.size());
        }
    }
    Tensor config;
    bool found = false;
    const std::string prefix = "entropy.";
    for (const std::string& tensor : file_.names()) {
        if (tensor == "config") {
            config = read_tensor(tensor);
            found = true;
        } else if (tensor.starts_with(prefix)) {
            entropy_[tensor.substr(prefix.size())] = read_tensor(tensor);
        }
    }
    if (!found || config.type != DType::u8 || config.shape.size() != 1) refuse("has no config");
    try {
        config_ = parse_config(config.values<std::uint8_t>());
        check_entropy(config_, entropy_);
    } catch (const Error& e) {
        refuse(e.what());
    }
}

void ModelFile::refuse(const std::string& what) const { throw Error(Fault::model, name_ + ": " + what); }

// Holds a list of tensors to those of the file, and takes its lines into hashes_, whole as yet.
void ModelFile::list(const std::string& listed, bool views) {
    std::size_t at = 0;
    bool fine = !ends_lines(listed);
    for (const std::string& tensor : file_.names()) {
        if (tensor.starts_with("view.") != views) continue;
        const std::size_t end = listed.find('\n', at);
        const std::string line = end == std::string::npos ? "" : listed.substr(at, end - at);
        fine = fine && line.substr(0, line.find(' ')) == tensor;
        if (!fine) break;
        hashes_[tensor] = line;
        at = end + 1;
    }
    if (!fine || at != listed.size()) refuse("the manifest does not list the tensors of the file");
}

Tensor ModelFile::read_tensor(const std::string& name) const {
    std::string hash;
    Tensor tensor = file_.read(name, hash);
    if (hash != hashes_.at(name)) refuse("tensor " + name + " does not match the manifest");
    return tensor;
}

int ModelFile::z_row(double quality) const { return config_.hyper_latents == 0 ? 0 : at_nearest("z_rows", quality); }

int ModelFile::skip(double quality) const { return config_.conditional() ? at_nearest("scale.skip", quality) : 0; }

std::int32_t ModelFile::at_nearest(const std::string& tensor, double quality) const {
    const auto found = entropy_.find(tensor);
    if (found == entropy_.end()) return 0;
    const Between at = config_.between(quality);
    return found->second.values<std::int32_t>()[at.row + (2 * at.t >= at.steps)];
}

Tensors ModelFile::read(const std::string& group, const std::string& prefix) const {
    Tensors out;
    for (const std::string& tensor : file_.names())
        if (tensor.starts_with(group + prefix)) out[tensor.substr(group.size())] = read_tensor(tensor);
    return out;
}

std::string ModelFile::stem() const {
    const std::size_t slash = name_.find_last_of(kPathSeparators);
    const std::string last = slash == std::string::npos ? name_ : name_.substr(slash + 1);
    const std::size_t dot = last.find_last_of('.');
    return dot == std::string::npos || dot == 0 || dot + 1 == last.size() ? last : last.substr(0, dot);
}

}  // namespace jahp
