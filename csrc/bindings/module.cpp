// SPDX-License-Identifier: Apache-2.0
// Table of contents of jahp_fast._native; the Python side (jahp_fast/_native.pyi) carries the documentation.
#include <pybind11/pybind11.h>

#include "core/error.hpp"

namespace py = pybind11;

namespace jahp::bind {
void register_checksums(py::module_& m);
void register_range_coder(py::module_& m);
void register_entropy_model(py::module_& m);
}  // namespace jahp::bind

PYBIND11_MODULE(_native, m) {
    m.doc() = "C++ core of jahp_fast; not public, see jahp_fast.Codec.";
    // Faults of the core become the classes of jahp_fast.errors, which is pure Python so that it needs no compiled code.
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const jahp::Error& e) {
            const char* name = e.fault() == jahp::Fault::format ? "FormatError" : e.fault() == jahp::Fault::model ? "ModelError" : "UsageError";
            py::set_error(py::module_::import("jahp_fast.errors").attr(name), e.what());
        }
    });
    jahp::bind::register_checksums(m);
    jahp::bind::register_range_coder(m);
    jahp::bind::register_entropy_model(m);
}
