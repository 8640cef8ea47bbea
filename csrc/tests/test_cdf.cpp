// SPDX-License-Identifier: Apache-2.0
#include "core/cdf.hpp"

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

using I32 = std::vector<std::int32_t>;
using U16 = std::vector<std::uint16_t>;

}  // namespace

TEST(rows_lines_and_ends) {
    for (const int bits : {15, 16}) {
        Random random(static_cast<std::uint32_t>(bits));
        const RandomTables t(random, bits, 40);
        const CdfTables tables(bits, t.low, t.size, t.starts);
        CHECK_EQ(tables.rows(), 40);
        CHECK_EQ(tables.prob_bits(), bits);
        std::size_t first = 0;
        for (std::int32_t r = 0; r < tables.rows(); ++r) {
            const CdfTables::Row& row = tables.row(r);
            const auto i = static_cast<std::size_t>(r);
            CHECK_EQ(row.low, t.low[i]);
            CHECK_EQ(row.size, t.size[i]);
            for (std::int32_t k = 0; k <= row.size; ++k) {
                CHECK_EQ(row.starts[k], t.starts[first + static_cast<std::size_t>(k)]);
                CHECK(tables.end(row, k) > row.starts[k]);
                if (k < row.size) CHECK_EQ(tables.end(row, k), row.starts[k + 1]);
            }
            CHECK_EQ(tables.end(row, row.size), 1u << bits);
            const LinedTables lined = tables.lined();
            CHECK_EQ(lined.prob_bits, bits);
            const LinedRow& as_lines = lined.rows[r];
            CHECK_EQ(as_lines.low, row.low);
            CHECK_EQ(as_lines.size, row.size);
            const std::uint16_t* entries = as_lines.entries;
            CHECK_EQ(reinterpret_cast<std::uintptr_t>(entries) % 64, 0u);
            CHECK_EQ(entries[0], 0xFFFF);
            for (std::int32_t k = 0; k <= row.size; ++k) CHECK_EQ(entries[k + 1], tables.end(row, k) - 1);
            for (std::int32_t k = row.size + 2; k % kLineEntries != 0; ++k) CHECK_EQ(entries[k], 0xFFFF);
            for (std::uint32_t b = 0; b < kLineBuckets && !single_line(row.size); ++b) {
                const std::uint32_t line = (entries - kLineBuckets)[b], slot = b << (bits - kLineBucketBits);
                if (line > 0) CHECK(entries[line * kLineEntries - 1] < slot);  // the entry is not before this line
                CHECK(entries[line * kLineEntries + kLineEntries - 1] >= slot);  // but in it
            }
            first += static_cast<std::size_t>(row.size) + 1;
        }
    }
}

TEST(smallest_and_largest_rows) {
    const CdfTables one(15, I32{0}, I32{1}, U16{0, 1});
    CHECK_EQ(one.end(one.row(0), 1) - one.row(0).starts[1], 32767u);
    I32 size{65535};
    U16 starts(65536);
    for (std::size_t k = 0; k < starts.size(); ++k) starts[k] = static_cast<std::uint16_t>(k);
    const CdfTables full(16, I32{-32768}, size, starts);  // every value and the escape at frequency 1
    CHECK_EQ(full.end(full.row(0), 65535) - full.row(0).starts[65535], 1u);
    const CdfTables none(15, I32{}, I32{}, U16{});
    CHECK_EQ(none.rows(), 0);
}

TEST(tables_that_contradict_themselves) {
    CHECK_FAULT(model, "15 or 16 bits", CdfTables(14, I32{0}, I32{1}, U16{0, 1}));
    CHECK_FAULT(model, "15 or 16 bits", CdfTables(17, I32{0}, I32{1}, U16{0, 1}));
    CHECK_FAULT(model, "differ in length", CdfTables(15, I32{0, 0}, I32{1}, U16{0, 1}));
    CHECK_FAULT(model, "row 0: size 0", CdfTables(15, I32{0}, I32{0}, U16{0}));
    CHECK_FAULT(model, "row 0: size -1", CdfTables(15, I32{0}, I32{-1}, U16{}));
    CHECK_FAULT(model, "row 0: size 65536", CdfTables(16, I32{0}, I32{65536}, U16(65537)));
    CHECK_FAULT(model, "row 1: low", CdfTables(15, I32{0, 65536}, I32{1, 1}, U16{0, 1, 0, 1}));
    CHECK_FAULT(model, "row 0: low", CdfTables(15, I32{-65536}, I32{1}, U16{0, 1}));
    CHECK_FAULT(model, "sum(size + 1)", CdfTables(15, I32{0}, I32{2}, U16{0, 1}));
    CHECK_FAULT(model, "sum(size + 1)", CdfTables(15, I32{0}, I32{1}, U16{0, 1, 2}));
    CHECK_FAULT(model, "row 0: does not start at 0", CdfTables(15, I32{0}, I32{1}, U16{1, 2}));
    CHECK_FAULT(model, "rise at entry 2", CdfTables(15, I32{0}, I32{2}, U16{0, 5, 5}));
    CHECK_FAULT(model, "rise at entry 1", CdfTables(15, I32{0}, I32{1}, U16{0, 0}));
    CHECK_FAULT(model, "row 1: sums to more", CdfTables(15, I32{0, 0}, I32{1, 1}, U16{0, 1, 0, 32768}));
}

}  // namespace jahp::test
