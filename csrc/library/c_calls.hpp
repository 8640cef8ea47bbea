// SPDX-License-Identifier: Apache-2.0
// What the C interface's objects have in common: no exception crosses it, and each object keeps its last message.
#pragma once

#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "include/jahp.h"
#include "library/codec_model.hpp"

namespace jahp {

// What a jahp_cancel that says so becomes.
struct Cancelled : std::exception {
    const char* what() const noexcept override { return "cancelled"; }
};

// A sentence that can always be kept: where there is no memory for it, that is what it says.
class Message {
public:
    const char* shown() const { return shown_; }
    void clear() noexcept { shown_ = ""; }
    void set(const char* text) noexcept {
        try {
            text_ = text;
            shown_ = text_.c_str();
        } catch (const std::bad_alloc&) {
            shown_ = "there is not enough memory";
        }
    }

private:
    std::string text_;
    const char* shown_ = "";
};

inline jahp_status status_of(Fault fault) {
    switch (fault) {
        case Fault::format:
            return JAHP_FORMAT_ERROR;
        case Fault::model:
            return JAHP_MODEL_ERROR;
        case Fault::usage:
            return JAHP_USAGE_ERROR;
        case Fault::image:
            return JAHP_IMAGE_ERROR;
        case Fault::unknown_model:
            return JAHP_UNKNOWN_MODEL;
        case Fault::device:
            break;
    }
    return JAHP_FAILED;
}

// Runs one call of an object, and says how it went.
template <typename Call>
jahp_status guarded(Message& message, const Call& call) noexcept {
    message.clear();
    try {
        call();
        return JAHP_OK;
    } catch (const Error& e) {
        message.set(e.what());
        return status_of(e.fault());
    } catch (const Cancelled& e) {
        message.set(e.what());
        return JAHP_CANCELLED;
    } catch (const std::bad_alloc&) {
        message.set("there is not enough memory: set JAHP_MAX_PIXELS to what there is memory for");
        return JAHP_NO_MEMORY;
    } catch (const std::exception& e) {
        message.set(e.what());
        return JAHP_FAILED;
    }
}

inline void require_usage(bool holds, const std::string& what) {
    if (!holds) throw Error(Fault::usage, what);
}

template <typename T>
void require_pointer(const T* pointer, const char* name) {
    require_usage(pointer != nullptr, std::string(name) + " must not be null");
}

// A whole number within its range, in the words of the Python package.
inline void require_within(const char* name, std::size_t value, std::size_t least, std::size_t most) {
    require_usage(value >= least && value <= most, std::string(name) + " must be " + std::to_string(least) + " to " +
                                                       std::to_string(most) + ", a whole number, not " +
                                                       std::to_string(value));
}

// What both decoders and encoders are told.
struct CommonOptions {
    int threads = 1;
    std::size_t max_pixels = std::size_t{1} << 28;
    jahp_cancel cancel = nullptr;
    void* opaque = nullptr;

    // Whether the option is one of these; Error(usage) for a value out of its range.
    bool set(jahp_option option, std::size_t value) {
        if (option == JAHP_THREADS) {
            require_within("threads", value, 1, 1024);
            threads = static_cast<int>(value);
        } else if (option == JAHP_MAX_PIXELS) {
            require_usage(value >= 1, "max_pixels must be a positive whole number, not 0");
            max_pixels = value;
        }
        return option == JAHP_THREADS || option == JAHP_MAX_PIXELS;
    }
    Poll poll() const {
        return [asked = cancel, with = opaque] {
            if (asked != nullptr && asked(with) != 0) throw Cancelled();
        };
    }
};

// Fills in a caller's version of a struct: fields that this library does not know are 0. There are no older versions
// yet, whose structs would be smaller.
template <typename Info>
void copy_info(const Info& from, Info* to, std::size_t size) {
    require_pointer(to, "info");
    require_usage(size >= sizeof(Info),
                  "info_size is not that of the struct: the program was built against another jahp.h");
    std::memset(to, 0, size);
    std::memcpy(to, &from, sizeof(Info));
}

}  // namespace jahp

struct jahp_model {
    jahp::Message message;
    std::shared_ptr<jahp::CodecModel> model;  // null until it is open

    void require_closed() const {
        jahp::require_usage(model == nullptr, "the model is open already: make another one");
    }
    const std::shared_ptr<jahp::CodecModel>& opened() const {
        jahp::require_usage(model != nullptr, "the model is not open: open a file first");
        return model;
    }
};
