// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>

#include "bindings/arrays.hpp"
#include "core/range_coder.hpp"
#include "core/range_coder_reference.hpp"

namespace jahp::bind {
namespace {

// Sequences of symbols as arrays of the same length.
struct Columns {
    std::span<const std::int32_t> lane, row, shift;
};

Columns columns(const CdfTables& tables, int lanes, const py::object& lane, const py::object& row,
                const py::object& shift) {
    const Columns c{view<std::int32_t>(lane, "lane"), view<std::int32_t>(row, "row"),
                    view<std::int32_t>(shift, "shift")};
    if (c.lane.size() != c.row.size() || c.lane.size() != c.shift.size())
        throw Error(Fault::usage, "lane, row and shift differ in length");
    check_lanes(lanes);
    for (std::size_t i = 0; i < c.lane.size(); ++i) {
        if (c.lane[i] < 0 || c.lane[i] >= lanes) throw Error(Fault::usage, "a lane is out of range");
        if (c.row[i] < 0 || c.row[i] >= tables.rows()) throw Error(Fault::usage, "a row is outside of the tables");
        if (c.shift[i] < -(1 << 24) || c.shift[i] > 1 << 24) throw Error(Fault::usage, "a shift is beyond 2^24");
    }
    return c;
}

std::vector<CodedSymbol> coded(const Columns& c, std::span<const std::int32_t> values) {
    std::vector<CodedSymbol> symbols;
    symbols.reserve(c.lane.size());
    for (std::size_t i = 0; i < c.lane.size(); ++i)
        symbols.push_back({c.lane[i], c.row[i], values.empty() ? 0 : values[i], c.shift[i]});
    return symbols;
}

// Columns name any lane for any symbol; RangeDecoder::run() wants channels 0, 1 ... of a position. What follows the
// lane order from lane 0 on goes through it, the rest symbol by symbol.
void decode_runs(RangeDecoder& decoder, const Columns& c, int lanes, std::span<std::int32_t> values) {
    constexpr std::size_t most = 4096;
    std::vector<Symbol> symbols(std::min(most, values.size()));
    for (std::size_t i = 0; i < values.size();) {
        std::size_t n = 0;
        for (; n < symbols.size() && i + n < values.size() &&
               c.lane[i + n] == static_cast<int>(n & static_cast<std::size_t>(lanes - 1));
             ++n)
            symbols[n] = {c.row[i + n], c.shift[i + n]};
        if (n > 0)
            decoder.run(symbols.data(), static_cast<int>(n), 0, true, values.data() + i);
        else
            values[i] = decoder.get(c.lane[i], c.row[i], c.shift[i]);
        i += std::max<std::size_t>(n, 1);
    }
}

}  // namespace

void register_range_coder(py::module_& m);
void register_range_coder(py::module_& m) {
    py::class_<CdfTables>(m, "CdfTables")
        .def(py::init([](int prob_bits, const py::object& low, const py::object& size, const py::object& starts) {
                 return std::make_unique<CdfTables>(prob_bits, view<std::int32_t>(low, "low"),
                                                    view<std::int32_t>(size, "size"),
                                                    view<std::uint16_t>(starts, "starts"));
             }),
             py::arg("prob_bits"), py::arg("low"), py::arg("size"), py::arg("starts"))
        .def_property_readonly("rows", &CdfTables::rows);
    m.def(
        "range_encode",
        [](const CdfTables& tables, int lanes, const py::object& lane, const py::object& row, const py::object& value,
           const py::object& shift, std::size_t min_bytes, bool reference) {
            const Columns c = columns(tables, lanes, lane, row, shift);
            const auto values = view<std::int32_t>(value, "value");
            if (values.size() != c.lane.size()) throw Error(Fault::usage, "value and lane differ in length");
            std::vector<std::uint8_t> payload;
            {
                const py::gil_scoped_release release;
                if (reference) {
                    payload = range_encode_reference(tables, lanes, coded(c, values), min_bytes);
                } else {
                    RangeEncoder encoder(tables);
                    for (std::size_t i = 0; i < values.size(); ++i)
                        encoder.put(c.lane[i], c.row[i], values[i], c.shift[i]);
                    payload = encoder.finish(lanes, min_bytes);
                }
            }
            return to_bytes(payload);
        },
        py::arg("tables"), py::arg("lanes"), py::arg("lane"), py::arg("row"), py::arg("value"), py::arg("shift"),
        py::arg("min_bytes") = 0, py::arg("reference") = false);
    m.def(
        "range_decode",
        [](const CdfTables& tables, int lanes, const py::buffer& payload, const py::object& lane, const py::object& row,
           const py::object& shift, std::size_t min_bytes, bool reference, const std::string& isa) {
            const Columns c = columns(tables, lanes, lane, row, shift);
            const py::buffer_info info = payload.request();
            const auto bytes = bytes_view(info, "payload");
            std::vector<std::int32_t> values(c.lane.size());
            {
                const py::gil_scoped_release release;
                if (reference) {
                    auto symbols = coded(c, {});
                    range_decode_reference(tables, lanes, bytes, symbols, min_bytes);
                    for (std::size_t i = 0; i < values.size(); ++i) values[i] = symbols[i].value;
                } else {
                    RangeDecoder decoder(tables, lanes, bytes, values.size(), parse_isa(isa.c_str()));
                    decode_runs(decoder, c, lanes, values);
                    decoder.finish(min_bytes);
                }
            }
            const auto n = static_cast<py::ssize_t>(values.size());
            return to_array(std::move(values), {n});
        },
        py::arg("tables"), py::arg("lanes"), py::arg("payload"), py::arg("lane"), py::arg("row"), py::arg("shift"),
        py::arg("min_bytes") = 0, py::arg("reference") = false, py::arg("isa") = "");
}

}  // namespace jahp::bind
