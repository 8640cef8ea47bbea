// SPDX-License-Identifier: Apache-2.0
#include "simd/symbol_rows.hpp"

#include <algorithm>
#include <limits>

#include "tests/check.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max(),
                       kLeast = std::numeric_limits<std::int32_t>::min();

// A table of `scales` scales as EntropyModel makes it.
struct Table {
    Table(std::vector<std::int32_t> sorted, Random& random, std::int32_t mean_mask, std::int32_t skip)
        : thresholds(std::move(sorted)), count(thresholds.size()) {
        for (std::size_t s = 0; s <= count; ++s) {
            row.push_back(static_cast<std::int32_t>(random(0, (1 << 28) - 300)));
            drop.push_back(static_cast<std::int32_t>(random(0, 8)));
            row_drop.push_back(static_cast<std::uint32_t>(row.back()) | static_cast<std::uint32_t>(drop.back()) << 28);
        }
        for (std::uint32_t key = 0; key < kScaleKeys; ++key)
            floor.push_back(static_cast<std::uint16_t>(std::count_if(
                thresholds.begin(), thresholds.end(), [&](std::int32_t t) { return scale_key(t) < key; })));
        row_drop.resize((count / 64 + 1) * 64);
        thresholds.resize((count / 64 + 1) * 64, kMost);
        table = {thresholds.data(), row_drop.data(), static_cast<int>(count) + 1, floor.data(), mean_mask, skip};
    }
    std::vector<std::int32_t> thresholds, row, drop;
    std::vector<std::uint32_t> row_drop;
    std::size_t count;
    std::vector<std::uint16_t> floor;
    ScaleTable table{};
};

std::vector<std::int32_t> interesting(const Table& t, Random& random) {
    std::vector<std::int32_t> values{kLeast, -1, 0, 1, kMost, kMost - 1};
    for (std::size_t i = 0; i < t.count; ++i)
        for (const std::int64_t by : {-1, 0, 1})
            values.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(t.thresholds[i] + by, kLeast, kMost)));
    for (int i = 0; i < 50; ++i) values.push_back(static_cast<std::int32_t>(random(kLeast, kMost) >> random(0, 31)));
    return values;
}

}  // namespace

TEST(keys_rise_and_stay_in_range) {
    std::uint32_t last = 0;
    for (std::int64_t v = 0; v <= kMost; v = v * 33 / 32 + 1) {
        const std::uint32_t key = scale_key(static_cast<std::int32_t>(v));
        CHECK(key >= last && key < kScaleKeys);
        last = key;
    }
    for (std::int32_t v = -2; v < 100000; ++v) CHECK(scale_key(v) <= scale_key(v + 1));
    CHECK(scale_key(kMost) < kScaleKeys);
    CHECK_EQ(scale_key(kLeast), 0u);
}

TEST(every_version_against_the_definition) {
    Random random(1);
    for (const std::size_t count : {0u, 1u, 2u, 30u, 31u, 32u, 33u, 62u, 63u, 64u, 200u})
        for (int kind = 0; kind < 4; ++kind) {
            std::vector<std::int32_t> sorted;
            for (std::size_t i = 0; i < count; ++i)
                sorted.push_back(kind == 0   ? static_cast<std::int32_t>(random(kLeast, kMost))
                                 : kind == 1 ? static_cast<std::int32_t>(random(0, 8000))
                                 : kind == 2 ? static_cast<std::int32_t>(random(0, 1) == 0 ? kLeast : kMost)
                                             : static_cast<std::int32_t>(random(-3, 3)));  // many alike
            std::sort(sorted.begin(), sorted.end());
            const Table t(sorted, random, kind % 2 == 0 ? 255 : 0,
                          kind == 1 ? static_cast<std::int32_t>(count / 2) : 0);
            const std::vector<std::int32_t> scales = interesting(t, random),
                                            means = random.many<std::int32_t>(scales.size(), kLeast, kMost);
            std::vector<SymbolRows> versions{symbol_rows_scalar};
            for (const Isa isa : available_isas())
                versions.push_back(symbol_rows_for(isa, static_cast<int>(count) + 1));
            for (const SymbolRows version : versions)
                for (const bool with_means : {true, false})
                    for (const std::size_t n : {scales.size(), scales.size() / 2, std::size_t{5}, std::size_t{0}}) {
                        std::vector<Symbol> out(n + 1, Symbol{77, 77});
                        version(scales.data(), with_means ? means.data() : nullptr, t.table, static_cast<int>(n),
                                out.data());
                        CHECK(out[n].row == 77 && out[n].mean == 77);  // nothing behind the last is written
                        for (std::size_t i = 0; i < n; ++i) {
                            const auto index = static_cast<std::size_t>(
                                std::upper_bound(sorted.begin(), sorted.end(), scales[i]) - sorted.begin());
                            const std::int32_t mean = with_means ? means[i] : 0;
                            CHECK_EQ(out[i].mean, mean);
                            CHECK_EQ(out[i].row, static_cast<std::int32_t>(index) < t.table.skip
                                                     ? -1
                                                     : t.row[index] + ((mean & t.table.mean_mask) >> t.drop[index]));
                        }
                    }
        }
}

}  // namespace jahp::test
