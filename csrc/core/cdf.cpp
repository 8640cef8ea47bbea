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

    const int bucket_shift = prob_bits - kBucketBits;
    buckets_.resize(size.size() << kBucketBits);
    rows_.reserve(size.size());
    std::size_t first = 0;
    for (std::size_t r = 0; r < size.size(); ++r) {
        const std::uint16_t* s = starts_.data() + first;
        const std::int32_t n = size[r];
        if (s[0] != 0) bad_row(r, "does not start at 0");
        for (std::int32_t k = 1; k <= n; ++k)
            if (s[k] <= s[k - 1]) bad_row(r, "starts do not rise at entry " + std::to_string(k));
        if ((static_cast<std::uint32_t>(s[n]) >> prob_bits) != 0) bad_row(r, "sums to more than 2^prob_bits");
        std::uint16_t* bucket = buckets_.data() + (r << kBucketBits);
        std::int32_t k = 0;
        for (std::uint32_t b = 0; b < (1u << kBucketBits); ++b) {
            while (k < n && s[k + 1] <= (b << bucket_shift)) ++k;
            bucket[b] = static_cast<std::uint16_t>(k);
        }
        rows_.push_back({s, bucket, low[r], n});
        first += static_cast<std::size_t>(n) + 1;
    }
}

}  // namespace jahp
