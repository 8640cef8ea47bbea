// SPDX-License-Identifier: Apache-2.0
// Faults of the core become the classes of jahp_fast.errors, which is pure Python so that it needs no compiled code.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>

#include "core/error.hpp"

namespace jahp::bind {

inline const char* error_class(Fault fault) {
    switch (fault) {
        case Fault::format:
            return "FormatError";
        case Fault::model:
            return "ModelError";
        case Fault::usage:
            return "UsageError";
        case Fault::image:
            return "UnsupportedImage";
        case Fault::unknown_model:
            return "UnknownModel";
        case Fault::device:
            break;
    }
    return "JahpError";
}

// For the extension module that calls it alone: each has its own copy of Error's type.
inline void register_errors() {
    namespace py = pybind11;
    py::register_local_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Error& e) {
            py::set_error(py::module_::import("jahp_fast.errors").attr(error_class(e.fault())), e.what());
        }
    });
}

}  // namespace jahp::bind
