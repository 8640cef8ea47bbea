// SPDX-License-Identifier: Apache-2.0
#include "emulator.hpp"

#include <ucontext.h>
#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <sstream>

#if defined(__SANITIZE_ADDRESS__)
#define JAHP_FIBERS_BY_CONTEXT 1  // the sanitizer knows swapcontext, and learns of the stacks
#include <sanitizer/common_interface_defs.h>
#else
#define JAHP_FIBERS_BY_CONTEXT 0  // setjmp makes no system call
#endif

namespace jahp::emulator {
namespace {

constexpr std::size_t kStack = JAHP_FIBERS_BY_CONTEXT ? 256 << 10 : 64 << 10;
constexpr std::size_t kFence = 64;
constexpr int kNobody = -1, kOutside = -2;

std::string at(const Where& where) { return std::string(where.file_name()) + ":" + std::to_string(where.line()); }

// Threads that meet: how often they have, and who is there for the next time.
struct Meeting {
    std::uint32_t passed = 0;
    std::vector<int> waiting;
    Where where;
    const char* what = "";
};

struct WarpState {
    Meeting meeting;
    std::uint32_t syncs = 0, mask = 0;
    std::uint64_t in[kWarp] = {};
    std::uint32_t a[2][kWarp][4] = {},
                  b[2][kWarp][2] = {};  // of this mma and the one before: slow lanes still read those
    unsigned products = 0;
};

struct Fiber {
    ucontext_t context;
    std::jmp_buf jump;
    std::unique_ptr<char[]> stack;
    bool started = false, ended = false;
    std::uint64_t exchanged[kWarp] = {};  // what its last exchange gave
};

// Who reached a byte, and the counts of the barriers he had passed. `wide`: 0 one thread, 1 several of a warp, 2 of a
// block, 3 of a group.
struct Access {
    int thread = kNobody;
    std::uint32_t warp = 0, block = 0, group = 0;
    int wide = 0;
};

struct Cell {
    Access write, read;
};

struct Stop {};  // unwinds a fiber whose run is over

}  // namespace

struct Grid::Impl {
    Shape shape;
    std::mt19937_64 random;
    std::vector<Fiber> fibers;
    std::vector<WarpState> warps;
    std::vector<Meeting> blocks, groups;
    std::vector<std::uint8_t> memory;
    std::vector<Cell> cells;
    std::vector<std::uint8_t*> shared;
    std::size_t used = 0;
    std::vector<int> ready;
    int current = 0, ended = 0;
    std::int64_t remote_words = 0;
    std::string failure;
    bool stopping = false;
    const std::function<void()>* kernel = nullptr;
    ucontext_t home;
    const void* home_stack = nullptr;
    std::size_t home_size = 0;
    std::jmp_buf home_jump;

    int warp_of(int thread) const { return thread / kWarp; }
    int block_of(int thread) const { return thread / shape.threads; }
    int group_of(int thread) const { return block_of(thread) / shape.group; }

    void resume(int thread);
    void yield();
    [[noreturn]] void leave();
    [[noreturn]] void fail(const std::string& what);
    void stop_all();
    void meet(Meeting& meeting, int members, const char* what, Where where);
    Access now(int wide = 0) const;
    bool ordered(const Access& before) const;
    void conflict(const char* verb, const char* other, const Access& before, const void* p, Where where);
    std::size_t offset(const void* p, std::size_t bytes, Where where);
};

namespace {

Grid::Impl* running = nullptr;

void enter() {
#if JAHP_FIBERS_BY_CONTEXT
    __sanitizer_finish_switch_fiber(nullptr, &running->home_stack, &running->home_size);
#endif
    Grid::Impl& g = *running;
    try {
        (*g.kernel)();
    } catch (const Stop&) {  // the failure is noted
    }
    g.fibers[static_cast<std::size_t>(g.current)].ended = true;
    ++g.ended;
    g.leave();
}

}  // namespace

void Grid::Impl::resume(int thread) {
    current = thread;
    Fiber& f = fibers[static_cast<std::size_t>(thread)];
    if (!f.started) {
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = kStack;
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
    }
#if JAHP_FIBERS_BY_CONTEXT
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, f.stack.get(), kStack);
    f.started = true;
    swapcontext(&home, &f.context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    if (_setjmp(home_jump) != 0) return;
    if (!f.started) {
        f.started = true;
        setcontext(&f.context);
    }
    _longjmp(f.jump, 1);
#endif
}

void Grid::Impl::yield() {
    Fiber& f = fibers[static_cast<std::size_t>(current)];
#if JAHP_FIBERS_BY_CONTEXT
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, home_stack, home_size);
    swapcontext(&f.context, &home);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    if (_setjmp(f.jump) == 0) _longjmp(home_jump, 1);
#endif
    if (stopping) throw Stop{};
}

void Grid::Impl::leave() {
#if JAHP_FIBERS_BY_CONTEXT
    __sanitizer_start_switch_fiber(nullptr, home_stack, home_size);
    setcontext(&home);
#else
    _longjmp(home_jump, 1);
#endif
    std::abort();
}

void Grid::Impl::fail(const std::string& what) {
    const std::string who = "thread " + std::to_string(current % shape.threads) + " of block " +
                            std::to_string(block_of(current));
    if (failure.empty()) failure = who + ": " + what;
    throw Stop{};
}

// So that what lies on the stacks of waiting fibers is destroyed.
void Grid::Impl::stop_all() {
    stopping = true;
    for (std::size_t i = 0; i < fibers.size(); ++i)
        if (fibers[i].started && !fibers[i].ended) resume(static_cast<int>(i));
    stopping = false;
}

void Grid::Impl::meet(Meeting& meeting, int members, const char* what, Where where) {
    if (meeting.waiting.empty()) {
        meeting.where = where;
        meeting.what = what;
    } else if (std::strcmp(meeting.what, what) != 0 || meeting.where.line() != where.line() ||
               std::strcmp(meeting.where.file_name(), where.file_name()) != 0) {
        fail(std::string(what) + " at " + at(where) + ", while others wait in " + meeting.what + " at " +
             at(meeting.where));
    }
    meeting.waiting.push_back(current);
    if (static_cast<int>(meeting.waiting.size()) == members) {
        ++meeting.passed;
        ready.insert(ready.end(), meeting.waiting.begin(), meeting.waiting.end());
        meeting.waiting.clear();
    }
    yield();
}

Access Grid::Impl::now(int wide) const {
    return {current, warps[static_cast<std::size_t>(warp_of(current))].syncs,
            blocks[static_cast<std::size_t>(block_of(current))].passed,
            groups[static_cast<std::size_t>(group_of(current))].passed, wide};
}

bool Grid::Impl::ordered(const Access& before) const {
    if (before.thread == kNobody || (before.thread == current && before.wide == 0)) return true;
    const Access here = now();
    if (group_of(before.thread) != group_of(current)) return false;
    if (here.group > before.group) return true;
    if (before.wide > 2 || block_of(before.thread) != block_of(current)) return false;
    if (here.block > before.block) return true;
    return before.wide < 2 && warp_of(before.thread) == warp_of(current) && here.warp > before.warp;
}

void Grid::Impl::conflict(const char* verb, const char* other, const Access& before, const void* p, Where where) {
    std::ostringstream out;
    out << at(where) << ": " << verb << " of " << p << ", which thread " << before.thread % shape.threads
        << " of block " << block_of(before.thread) << " has " << other << " since the last barrier of both";
    fail(out.str());
}

std::size_t Grid::Impl::offset(const void* p, std::size_t bytes, Where where) {
    const auto from = static_cast<const std::uint8_t*>(p) - memory.data();
    if (from < 0 || static_cast<std::size_t>(from) + bytes > memory.size())
        fail(at(where) + ": access outside of watched memory");
    return static_cast<std::size_t>(from);
}

Grid::Grid(const Shape& shape, std::uint64_t seed, std::size_t memory) : impl_(std::make_unique<Impl>()) {
    impl_->shape = shape;
    impl_->random.seed(seed);
    impl_->memory.resize(memory + static_cast<std::size_t>(shape.blocks) * (shape.shared + 16 * kFence));
    for (std::uint8_t& byte : impl_->memory) byte = static_cast<std::uint8_t>(impl_->random());
    Cell outside;
    outside.write.thread = kOutside;
    impl_->cells.assign(impl_->memory.size(), outside);
    for (int b = 0; b < shape.blocks; ++b) impl_->shared.push_back(static_cast<std::uint8_t*>(take(shape.shared)));
}

Grid::~Grid() = default;

void* Grid::take(std::size_t bytes) {
    Impl& g = *impl_;
    // 64-byte aligned in the address space, with a fence before and behind.
    const auto base = reinterpret_cast<std::uintptr_t>(g.memory.data());
    const std::size_t first = ((base + g.used + kFence + 63) & ~std::uintptr_t{63}) - base;
    if (first + bytes + kFence > g.memory.size()) throw std::bad_alloc();
    for (std::size_t i = first; i < first + bytes; ++i) g.cells[i] = Cell{};
    g.used = first + bytes;
    return g.memory.data() + first;
}

std::string Grid::run(const std::function<void()>& kernel) {
    Impl& g = *impl_;
    const int threads = g.shape.blocks * g.shape.threads;
    const auto size = [](int n) { return static_cast<std::size_t>(n); };
    g.fibers = std::vector<Fiber>(size(threads));
    g.warps.assign(size(threads / kWarp), {});
    g.blocks.assign(size(g.shape.blocks), {});
    g.groups.assign(size(g.shape.blocks / g.shape.group), {});
    g.ready.clear();
    g.ended = 0;
    g.remote_words = 0;
    g.failure.clear();
    for (Cell& cell : g.cells)
        if (cell.write.thread != kOutside) cell = Cell{};
    for (int i = 0; i < threads; ++i) {
        g.fibers[size(i)].stack = std::make_unique_for_overwrite<char[]>(kStack);
        g.ready.push_back(i);
    }
    g.kernel = &kernel;
    Impl* const outer = running;
    running = &g;
    while (!g.ready.empty() && g.failure.empty()) {
        const std::size_t i = g.random() % g.ready.size();
        const int next = g.ready[i];
        g.ready[i] = g.ready.back();
        g.ready.pop_back();
        g.resume(next);
    }
    const bool complete = g.ended == threads && g.failure.empty();
    g.stop_all();
    running = outer;
    if (complete || !g.failure.empty()) return g.failure;
    const auto stuck = [&](const std::vector<Meeting>& meetings) {
        for (const Meeting& m : meetings)
            if (!m.waiting.empty() && g.failure.empty())
                g.failure = at(m.where) + ": " + m.what + " that only " + std::to_string(m.waiting.size()) +
                            " threads reach";
    };
    for (const WarpState& w : g.warps) stuck({w.meeting});
    stuck(g.blocks);
    stuck(g.groups);
    return g.failure;
}

Counts Grid::counts() const {
    Counts out;
    for (const Meeting& group : impl_->groups)
        out.group_barriers = std::max<std::int64_t>(out.group_barriers, group.passed);
    for (const WarpState& warp : impl_->warps) out.products += warp.products;
    out.remote_words = impl_->remote_words;
    return out;
}

int thread_index() { return running->current % running->shape.threads; }
int thread_count() { return running->shape.threads; }
int block_index() { return running->block_of(running->current); }
std::uint8_t* shared_memory() { return running->shared[static_cast<std::size_t>(block_index())]; }

void* there(void* p, int rank, Where where) {
    Grid::Impl& g = *running;
    const auto offset = static_cast<std::uint8_t*>(p) - shared_memory();
    const int group = g.group_of(g.current), block = group * g.shape.group + rank;
    if (offset < 0 || static_cast<std::size_t>(offset) >= g.shape.shared)
        g.fail(at(where) + ": no place in shared memory");
    if (rank < 0 || rank >= g.shape.group) g.fail(at(where) + ": no block of this group");
    if (g.groups[static_cast<std::size_t>(group)].passed == 0)
        g.fail(at(where) + ": another block's memory before it is known to have started");
    for (int thread = block * g.shape.threads; thread < (block + 1) * g.shape.threads; ++thread)
        if (g.fibers[static_cast<std::size_t>(thread)].ended)
            g.fail(at(where) + ": the memory of a block that has ended");
    ++g.remote_words;
    return g.shared[static_cast<std::size_t>(block)] + offset;
}

void check_read(const void* p, std::size_t bytes, Where where) {
    Grid::Impl& g = *running;
    const std::size_t first = g.offset(p, bytes, where);
    for (std::size_t i = first; i < first + bytes; ++i) {
        Cell& cell = g.cells[i];
        if (cell.write.thread == kOutside) g.fail(at(where) + ": read beyond an array");
        if (!g.ordered(cell.write)) g.conflict("read", "written", cell.write, p, where);
        int wide = 0;
        if (!g.ordered(cell.read)) {
            const int other = cell.read.thread;
            const int scope = g.warp_of(other) == g.warp_of(g.current)     ? 1
                              : g.block_of(other) == g.block_of(g.current) ? 2
                                                                           : 3;
            wide = std::max(cell.read.wide, scope);
        } else if (cell.read.thread == g.current) {
            wide = cell.read.wide;
        }
        cell.read = g.now(wide);
    }
}

void check_write(const void* p, std::size_t bytes, Where where) {
    Grid::Impl& g = *running;
    const std::size_t first = g.offset(p, bytes, where);
    for (std::size_t i = first; i < first + bytes; ++i) {
        Cell& cell = g.cells[i];
        if (cell.write.thread == kOutside) g.fail(at(where) + ": write beyond an array");
        if (!g.ordered(cell.write)) g.conflict("write", "written", cell.write, p, where);
        if (!g.ordered(cell.read)) g.conflict("write", "read", cell.read, p, where);
        cell.write = g.now();
        cell.read = Access{};
    }
}

void sync_block(Where where) {
    Grid::Impl& g = *running;
    g.meet(g.blocks[static_cast<std::size_t>(g.block_of(g.current))], g.shape.threads, "a block barrier", where);
}

void sync_group(Where where) {
    Grid::Impl& g = *running;
    g.meet(g.groups[static_cast<std::size_t>(g.group_of(g.current))], g.shape.threads * g.shape.group,
           "a group barrier", where);
}

namespace {

// Meets the lanes of `mask`. The last of them runs `complete` before any goes on.
void meet_warp(std::uint32_t mask, const char* what, Where where, const std::function<void(WarpState&)>& complete) {
    Grid::Impl& g = *running;
    WarpState& w = g.warps[static_cast<std::size_t>(g.warp_of(g.current))];
    if ((mask >> (g.current % kWarp) & 1) == 0)
        g.fail(std::string(what) + " at " + at(where) + " by a lane that its mask leaves out");
    if (w.meeting.waiting.empty())
        w.mask = mask;
    else if (w.mask != mask)
        g.fail(std::string(what) + " at " + at(where) + " with a mask that differs from other lanes'");
    const int members = __builtin_popcount(mask);
    if (static_cast<int>(w.meeting.waiting.size()) + 1 == members) complete(w);
    g.meet(w.meeting, members, what, where);
}

}  // namespace

const std::uint64_t* exchange(std::uint32_t mask, std::uint64_t in, const char* what, Where where) {
    Grid::Impl& g = *running;
    const int first = g.current / kWarp * kWarp;
    g.warps[static_cast<std::size_t>(first / kWarp)].in[g.current - first] = in;
    meet_warp(mask, what, where, [&](WarpState& w) {
        for (int lane = 0; lane < kWarp; ++lane)
            if ((mask >> lane & 1) == 0) w.in[lane] = 0;
        for (int lane = 0; lane < kWarp; ++lane)
            if ((mask >> lane & 1) != 0)
                std::copy(w.in, w.in + kWarp, g.fibers[static_cast<std::size_t>(first + lane)].exchanged);
    });
    return g.fibers[static_cast<std::size_t>(g.current)].exchanged;
}

void sync_warp(Where where) {
    meet_warp(0xffffffffu, "a warp barrier", where, [](WarpState& w) { ++w.syncs; });
}

void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Where where) {
    Grid::Impl& g = *running;
    WarpState& w = g.warps[static_cast<std::size_t>(g.warp_of(g.current))];
    const int lane = g.current % kWarp, row = lane / 4, column = lane % 4 * 2;
    const unsigned turn = w.products & 1;
    std::memcpy(w.a[turn][lane], a, sizeof a);
    std::memcpy(w.b[turn][lane], b, sizeof b);
    meet_warp(0xffffffffu, "mma", where, [](WarpState& state) { ++state.products; });
    // A(m, k): lane m % 8 * 4 + k % 16 / 4, register m / 8 + k / 16 * 2, byte k % 4. B(k, n): lane n * 4 + k % 16 / 4,
    // register k / 16.
    const auto byte = [](std::uint32_t word, int i) {
        return static_cast<std::int32_t>(static_cast<std::int8_t>(word >> (8 * i)));
    };
    std::uint32_t sum[4];
    for (int i = 0; i < 4; ++i) {
        const int m = row + i / 2 * 8, n = column + i % 2;
        std::int32_t products = 0;
        for (int k = 0; k < 32; k += 4) {
            const std::uint32_t x = w.a[turn][m % 8 * 4 + k % 16 / 4][m / 8 + k / 16 * 2],
                                y = w.b[turn][n * 4 + k % 16 / 4][k / 16];
            for (int j = 0; j < 4; ++j) products += byte(x, j) * byte(y, j);
        }
        sum[i] = static_cast<std::uint32_t>(c[i]) + static_cast<std::uint32_t>(products);
    }
    for (int i = 0; i < 4; ++i) c[i] = static_cast<std::int32_t>(sum[i]);
}

}  // namespace jahp::emulator
