// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.hpp"
#include "core/context_decoder.hpp"
#include "core/crc32c.hpp"

namespace jahp::bind {

void register_checksums(py::module_& m);
void register_checksums(py::module_& m) {
    m.def(
        "crc32c",
        [](const py::buffer& data, std::uint32_t crc) {
            const py::buffer_info info = data.request();
            const auto bytes = bytes_view(info, "data");
            const py::gil_scoped_release release;
            return crc32c(bytes, crc);
        },
        py::arg("data"), py::arg("crc") = 0);
    m.def(
        "symbol_checksum",
        [](const py::object& z, const py::object& y) {
            const auto zs = view<std::int32_t>(z, "z", 3), ys = view<std::int32_t>(y, "y", 3);
            const py::gil_scoped_release release;
            return symbol_checksum(zs, ys);
        },
        py::arg("z"), py::arg("y"));
}

}  // namespace jahp::bind
