// SPDX-License-Identifier: Apache-2.0
#include "core/cdf.hpp"

#include <string>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::int32_t kMaxSize = 65535;

[[noreturn]] void bad_row(std::size_t row, const std::string& what) {
    throw Error(Fault::model, "probability table row " + std::to_string(row) + ": " + what);
}

}  // namespace

CdfTables::CdfTables(int prob_bits, std::span<const std::int32_t> low, std::span<const std::int32_t> size,
                     std::span<const std::uint16_t> starts)
    : prob_bits_(prob_bits), starts_(starts.begin(), starts.end()) {
    if (prob_bits != 15 && prob_bits != 16) throw Error(Fault::model, "probability tables must have 15 or 16 bits");
    if (low.size() != size.size()) throw Error(Fault::model, "tables.low and tables.size differ in length");
    std::size_t need = 0;
    for (std::size_t r = 0; r < size.size(); ++r) {
        if (size[r] < 1 || size[r] > kMaxSize) bad_row(r, "size " + std::to_string(size[r]) + " is not in 1..65535");
        if (low[r] < -65535 || low[r] > 65535) bad_row(r, "low " + std::to_string(low[r]) + " is out of range");
        need += static_cast<std::size_t>(size[r]) + 1;
    }
    if (need != starts.size()) throw Error(Fault::model, "tables.starts has not sum(size + 1) entries");

    rows_.reserve(size.size());
    std::size_t first = 0;
    for (std::size_t r = 0; r < size.size(); ++r) {
        const std::uint16_t* s = starts_.data() + first;
        const std::int32_t n = size[r];
        if (s[0] != 0) bad_row(r, "does not start at 0");
        for (std::int32_t k = 1; k <= n; ++k)
            if (s[k] <= s[k - 1]) bad_row(r, "starts do not rise at entry " + std::to_string(k));
        if ((static_cast<std::uint32_t>(s[n]) >> prob_bits) != 0) bad_row(r, "sums to more than 2^prob_bits");
        rows_.push_back({s, low[r], n});
        first += static_cast<std::size_t>(n) + 1;
    }
    make_lines();
}

void CdfTables::make_lines() {
    constexpr auto line = static_cast<std::size_t>(kLineEntries);
    std::vector<std::size_t> first;
    for (const Row& row : rows_) {
        const std::size_t entries = (static_cast<std::size_t>(row.size) + 2 + line - 1) / line * line,
                          at = lines_.size();
        if (!single_line(row.size)) {
            std::uint32_t k = 0;  // entry that holds the bucket's first slot; it stands at place k + 1
            for (std::uint32_t b = 0; b < kLineBuckets; ++b) {
                while (end(row, static_cast<std::int32_t>(k)) <= b << (prob_bits_ - kLineBucketBits)) ++k;
                lines_.push_back(static_cast<std::uint16_t>((k + 1) / line));
            }
        }
        first.push_back(lines_.size());
        lines_.push_back(0xFFFF);
        for (std::int32_t k = 0; k <= row.size; ++k) lines_.push_back(static_cast<std::uint16_t>(end(row, k) - 1));
        lines_.resize((single_line(row.size) ? at : at + kLineBuckets) + entries, 0xFFFF);
    }
    lines_.push_back(0xFFFF);  // read along with the last entry
    for (std::size_t r = 0; r < rows_.size(); ++r)
        lined_rows_.push_back({lines_.data() + first[r], rows_[r].low, rows_[r].size});
}

}  // namespace jahp
