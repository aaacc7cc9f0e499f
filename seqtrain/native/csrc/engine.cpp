// Whole sequences of a recurrent cell, forward and backward, in one call.
//
// What does not depend on the step before (the input projection, the weight gradients) is left to the caller as big
// matrix products. Threads split the batch and run all steps of their rows alone, so nothing waits within a sequence; only
// a few rows beside a large matrix are split by hidden units instead, with a wait after every phase.

#include <array>
#include <cstdint>
#include <new>

#include "cells.h"
#include "cross_entropy.h"
#include "panels.h"
#include "processor.h"
#include "product.h"

// What the library shows. All else is hidden, or two builds in one process would share their threads and memory.
#if defined(_WIN32)
#define SEQTRAIN_EXPORT extern "C" __declspec(dllexport)
#else
#define SEQTRAIN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// All arrays are float32, without gaps. [T, B, ...] unless said otherwise; blocks = gates, or 4 for gru_after.
struct Call {
    std::int64_t steps, batch, hidden;
    const std::int64_t* lengths;  // [B], or null: every row fills T
    std::int32_t reverse;
    std::int32_t saving;   // keep what backward needs; else `aside` is one step that is written over, `cells` is c_last
    std::int32_t threads;
    std::int32_t storage;  // of the factors of products: 0 Float32, 1 Rounded, 2 Pairs; all the rest is float32
    const float* w_h;      // [G*H, H]
    const float* p;        // [peepholes, H], or b_hn [H]
    float* gates;          // [G*H] input projection, overwritten by the activations; for rnn it is `outputs`
    float* outputs;        // [H]
    float* cells;          // [H]
    float* aside;          // [H] gru: W_hn h + b_hn (after) or r * h (before)
    const float* h_first;  // [B, H], or null: zero
    const float* c_first;
    float* h_last;         // [B, H]
    float* c_last;
    const float* d_outputs;  // [H], or null
    float* d_gates;          // [blocks*H]
    float* dh;               // [B, H] on entry of the last state; on return of the first, but for what w_h carries
    float* dc;               // [B, H] on entry of the last state; on return of the first
    float* db;               // [blocks*H], no T, no B: sums of d_gates
    float* dp;               // [peepholes, H], no T, no B
};

namespace seqtrain {
namespace {

// One row of the batch at one step.
struct ForwardRow {
    float* gates;
    float* h;
    float* c;
    float* aside;
    const float* h_old;
    const float* c_old;
    const float* next_gates;  // `gates` of the row's next step
};

struct BackwardRow {
    const float* gates;
    const float* c;
    const float* aside;
    const float* h_old;
    const float* c_old;
    const float* dy;
    const float* next;  // d_gates of the step that comes after; zeros after the last
    float* d_gates;
    float* dh;
    float* dc;
    float* sums;  // of the row's group, which has a place in `Sums`
};

// What the equations in cells.h see: a row, a vector of its units, and the row's product with the panel.
template <class Lanes>
struct ForwardAt {
    const ForwardRow& row;
    const Lanes lanes;
    const std::int64_t H, unit;
    const float* products;  // of this phase, `first` being its first gate
    const int first;
    const float* vectors;
    const bool saving;

    Vec x(int gate) const { return lanes.load(row.gates + gate * H + unit); }
    Vec through(int gate) const { return load(products + (gate - first) * kLanes); }
    Vec pre(int gate) const { return x(gate) + through(gate); }
    Vec p(int index) const { return lanes.load(vectors + index * H + unit); }
    Vec h_old() const { return lanes.load(row.h_old + unit); }
    Vec c_old() const { return lanes.load(row.c_old + unit); }

    void gate(int gate, Vec v) const { lanes.store(row.gates + gate * H + unit, v); }
    void aside(Vec v) const { lanes.store(row.aside + unit, v); }
    void h(Vec v) const { lanes.store(row.h + unit, v); }
    void c(Vec v) const { lanes.store(row.c + unit, v); }
    void keep(int gate, Vec v) const {
        if (saving) this->gate(gate, v);
    }
    void keep_aside(Vec v) const {
        if (saving) aside(v);
    }
};

// Sums over the rows of a group and their steps, for one vector of units: db, dp.
template <class Cell>
struct Sums {
    static constexpr int count = Cell::blocks + Cell::peeps;
    Vec b[Cell::blocks];
    Vec p[Cell::peeps + 1];  // + 1: no array may be empty

    template <class Lanes>
    void load(const Lanes& lanes, const float* from, std::int64_t H) {
        for (int k = 0; k < Cell::blocks; ++k) b[k] = lanes.load(from + k * H);
        for (int k = 0; k < Cell::peeps; ++k) p[k] = lanes.load(from + (Cell::blocks + k) * H);
    }

    template <class Lanes>
    void store(const Lanes& lanes, float* to, std::int64_t H) const {
        for (int k = 0; k < Cell::blocks; ++k) lanes.store(to + k * H, b[k]);
        for (int k = 0; k < Cell::peeps; ++k) lanes.store(to + (Cell::blocks + k) * H, p[k]);
    }
};

// The rows of a batch in groups, whose sums are added up apart, so that they do not depend on the number of threads.
struct Groups {
    explicit Groups(std::int64_t batch) : batch(batch), rows(std::max<std::int64_t>(1, batch / kGroupsAtLeast)) {}
    std::int64_t count() const { return parts_of(batch, rows); }

    static constexpr std::int64_t kGroupsAtLeast = 64;  // of a large batch: as many threads can share it
    const std::int64_t batch, rows;
};

template <class Cell, class Lanes>
struct BackwardAt {
    const BackwardRow& row;
    const Lanes lanes;
    const std::int64_t H, unit;
    const float* products;
    const float* vectors;
    Sums<Cell>& sums;

    Vec through() const { return load(products); }
    Vec gate(int gate) const { return lanes.load(row.gates + gate * H + unit); }
    Vec p(int index) const { return lanes.load(vectors + index * H + unit); }
    Vec c() const { return lanes.load(row.c + unit); }
    Vec c_old() const { return lanes.load(row.c_old + unit); }
    Vec h_old() const { return lanes.load(row.h_old + unit); }
    Vec aside() const { return lanes.load(row.aside + unit); }
    Vec dc() const { return lanes.load(row.dc + unit); }
    Vec carried_dh() const { return lanes.load(row.dh + unit); }
    Vec dh() const { return lanes.load(row.dy + unit) + carried_dh() + through(); }

    void carry_dh(Vec v) const { lanes.store(row.dh + unit, v); }
    void carry_dc(Vec v) const { lanes.store(row.dc + unit, v); }
    void dp(int index, Vec v) const { sums.p[index] += v; }
    void dgate(int block, Vec v) const {
        sums.b[block] += v;
        lanes.store(row.d_gates + block * H + unit, v);
    }
};

struct Rows {
    std::int64_t begin, end;
};

// A thread's share of each step: rows of the batch, and one of `parts` parts of the hidden units. Its memory is there
// before the threads start.
struct Worker {
    Rows rows;
    int part, parts;
    std::vector<float> products;
    std::vector<float> factors;  // a tile of rows as a product with `Storage` wants them
    std::vector<ForwardRow> forward;
    std::vector<BackwardRow> backward;
};

// Where the rows of a call stand at each step. Step s of a row is its s-th in walking order.
class Walk {
public:
    Walk(const Call& call, std::int64_t blocks) : call(call), zeros_(blocks * call.hidden) {}

    const Call& call;

    // In the place of a state or a gradient that is zero in all rows.
    const float* zeros() const { return zeros_.data(); }

    std::int64_t length(std::int64_t b) const { return call.lengths ? call.lengths[b] : call.steps; }

    // Index of a row's step among all T*B.
    std::int64_t place(std::int64_t b, std::int64_t s) const {
        return (call.reverse ? length(b) - 1 - s : s) * call.batch + b;
    }

    // Index in an array that holds one step only, unless all are kept.
    std::int64_t kept(std::int64_t b, std::int64_t s) const { return call.saving ? place(b, s) : b; }

    const float* h_old(std::int64_t b, std::int64_t s) const {
        return s ? call.outputs + place(b, s - 1) * call.hidden : first(call.h_first, b);
    }

    const float* c_old(std::int64_t b, std::int64_t s) const {
        if (!call.cells) return nullptr;
        return s ? call.cells + kept(b, s - 1) * call.hidden : first(call.c_first, b);
    }

private:
    const float* first(const float* state, std::int64_t b) const { return state ? state + b * call.hidden : zeros(); }

    std::vector<float> zeros_;
};

template <class Float>
Float* at(Float* array, std::int64_t offset) {
    return array ? array + offset : nullptr;
}

// Stores rows of factors as a product with the panels wants them, and points to them instead.
template <class Storage>
void convert(const Panels<Storage>& panels, const float** rows, int count, std::int64_t depth, float* factors) {
    if (Storage::as_is) return;
    for (int r = 0; r < count; ++r, factors += panels.groups()) {
        Storage::store_row(rows[r], depth, factors);
        rows[r] = factors;
    }
}

// One phase for a thread's share: the product with a panel, then the equations of the panel's units while it is still near.
template <class Storage, class Row, class Source, class Equations>
void run_phase(const Panels<Storage>& panels, Worker& worker, const std::vector<Row>& rows, std::int64_t H, int columns,
               std::int64_t depth, const float* zeros, Source source, Equations equations) {
    float* products = worker.products.data();
    const std::int64_t begin = part(panels.count(), worker.parts, worker.part);
    const std::int64_t end = part(panels.count(), worker.parts, worker.part + 1);
    const float* sources[kTileRows];
    const std::int64_t all = static_cast<std::int64_t>(rows.size());
    for (std::int64_t first = 0; first < all; first += kTileRows) {
        const int count = static_cast<int>(std::min<std::int64_t>(kTileRows, all - first));
        bool all_zero = true;  // as at the first step: no product then
        for (int r = 0; r < count; ++r) all_zero &= (sources[r] = source(rows[first + r])) == zeros;
        if (!all_zero) convert(panels, sources, count, depth, worker.factors.data());
        for (std::int64_t panel = begin; panel < end; ++panel) {
            const std::int64_t stride = panels.width(panel) * kLanes;
            if (all_zero)
                std::fill_n(products, count * stride, 0.0f);
            else
                panels.multiply(panel, panels.groups(), sources, count, 1, products, stride);
            const float* mine = products;
            for (std::int64_t v = panels.start(panel); v < panels.start(panel + 1); ++v, mine += columns * kLanes) {
                const std::int64_t unit = v * kLanes;
                if (H - unit >= kLanes)
                    equations(AllLanes{}, &rows[first], count, unit, mine, stride);
                else
                    equations(SomeLanes(static_cast<int>(H - unit)), &rows[first], count, unit, mine, stride);
            }
        }
    }
    if (worker.parts > 1) wait_for_team();
}

template <class Phase, class Storage>
void forward_phase(const Walk& walk, Worker& worker, const Panels<Storage>& panels) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    run_phase(
        panels, worker, worker.forward, H, Phase::count, H, walk.zeros(),
        [](const ForwardRow& row) { return Phase::from == From::h ? row.h_old : row.aside; },
        [&](auto lanes, const ForwardRow* rows, int count, std::int64_t unit, const float* products,
            std::int64_t stride) {
            for (int r = 0; r < count; ++r) {
                // A whole step early; the lines are too far apart for the processor to see them coming.
                for (int k = 0; k < Phase::count; ++k)
                    __builtin_prefetch(rows[r].next_gates + (Phase::first + k) * H + unit);
                Phase::step(ForwardAt<decltype(lanes)>{rows[r], lanes, H, unit, products + r * stride, Phase::first,
                                                       call.p, call.saving != 0});
            }
        });
}

template <class Cell, class Phase, class Storage>
void backward_phase(const Walk& walk, Worker& worker, const Panels<Storage>& panels) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    const float* zeros = walk.zeros();
    run_phase(
        panels, worker, worker.backward, H, 1, Phase::count * H, zeros,
        [H, zeros](const BackwardRow& row) {
            const float* grads = Phase::grads == Grads::next ? row.next : row.d_gates;
            return grads == zeros ? zeros : grads + Phase::block * H;
        },
        [&](auto lanes, const BackwardRow* rows, int count, std::int64_t unit, const float* products,
            std::int64_t stride) {
            Sums<Cell> sums;
            for (int r = 0; r < count; ++r) {
                float* group = rows[r].sums;
                if (r == 0 || group != rows[r - 1].sums) sums.load(lanes, group + unit, H);
                Phase::step(BackwardAt<Cell, decltype(lanes)>{rows[r], lanes, H, unit, products + r * stride, call.p,
                                                              sums});
                if (r + 1 == count || group != rows[r + 1].sums) sums.store(lanes, group + unit, H);
            }
        });
}

void gather_forward(const Walk& walk, Worker& worker, std::int64_t gates, std::int64_t s) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    worker.forward.clear();
    for (std::int64_t b = worker.rows.begin; b < worker.rows.end; ++b) {
        if (s >= walk.length(b)) continue;
        const std::int64_t place = walk.place(b, s), kept = walk.kept(b, s) * H;
        worker.forward.push_back({call.gates + place * gates * H, call.outputs + place * H, at(call.cells, kept),
                                  at(call.aside, kept), walk.h_old(b, s), walk.c_old(b, s),
                                  call.gates + (s + 1 < walk.length(b) ? walk.place(b, s + 1) : place) * gates * H});
    }
}

void gather_backward(const Walk& walk, Worker& worker, std::int64_t gates, std::int64_t blocks, std::int64_t s,
                     float* sums, std::int64_t width) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    const Groups groups(call.batch);
    worker.backward.clear();
    for (std::int64_t b = worker.rows.begin; b < worker.rows.end; ++b) {
        if (s >= walk.length(b)) continue;
        const std::int64_t place = walk.place(b, s);
        const bool last = s + 1 == walk.length(b);
        worker.backward.push_back({call.gates + place * gates * H, at(call.cells, place * H), at(call.aside, place * H),
                                   walk.h_old(b, s), walk.c_old(b, s),
                                   call.d_outputs ? call.d_outputs + place * H : walk.zeros(),
                                   last ? walk.zeros() : call.d_gates + walk.place(b, s + 1) * blocks * H,
                                   call.d_gates + place * blocks * H, call.dh + b * H, at(call.dc, b * H),
                                   sums + b / groups.rows * width});
    }
}

void clear_padding(const Call& call, Rows rows, float* array, std::int64_t width) {
    if (!array || !call.lengths) return;
    for (std::int64_t b = rows.begin; b < rows.end; ++b)
        for (std::int64_t t = call.lengths[b]; t < call.steps; ++t)
            std::fill_n(array + (t * call.batch + b) * width, width, 0.0f);
}

void copy_last_state(const Walk& walk, Rows rows) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    for (std::int64_t b = rows.begin; b < rows.end; ++b) {
        const std::int64_t length = walk.length(b);
        std::copy_n(walk.h_old(b, length), H, call.h_last + b * H);
        if (call.cells && (length == 0 || call.saving)) std::copy_n(walk.c_old(b, length), H, call.c_last + b * H);
    }
}

template <class Phase, class Storage>
Panels<Storage> room_forward(const Call& call) {
    return {call.hidden, Phase::count, call.hidden};
}

template <class Phase, class Storage>
Panels<Storage> room_backward(const Call& call) {
    return {Phase::count * call.hidden, 1, call.hidden};
}

// The transpose of the phase's part of w_h.
template <class Phase, class Storage>
void pack_forward(const Call& call, Panels<Storage>& panels, int n, int team) {
    const std::int64_t H = call.hidden;
    panels.pack({call.w_h + Phase::first * H * H, 1, H}, H, n, team);
}

template <class Phase, class Storage>
void pack_backward(const Call& call, Panels<Storage>& panels, int n, int team) {
    const std::int64_t H = call.hidden;
    panels.pack({call.w_h + Phase::first * H * H, H, 1}, Phase::count * H, n, team);
}

// Of all panels, the most vectors of columns, or groups of depths.
template <class Storage, std::size_t phases>
std::int64_t most(const std::array<Panels<Storage>, phases>& panels, std::int64_t (Panels<Storage>::*size)() const) {
    std::int64_t most = 0;
    for (const Panels<Storage>& one : panels) most = std::max(most, (one.*size)());
    return most;
}

// Whether threads split the hidden units rather than the batch: with so few rows each that the micro-kernel is not busy,
// if there is enough to do between two waits; or with few rows beside a matrix that no L2 holds, of which each thread
// then reads a part only. Measured.
bool splits_units(const Call& call, int gates) {
    const std::int64_t rows = parts_of(call.batch, call.threads), size = gates * call.hidden * call.hidden;
    return (rows < kBlockRows - 1 && size > 30000) || (rows <= 16 && size > 1000000);
}

template <class Storage, std::size_t phases>
std::vector<Worker> make_workers(const Call& call, const std::array<Panels<Storage>, phases>& panels, bool by_units) {
    const std::int64_t parts = by_units ? panels[0].count() : Groups(call.batch).count();
    std::vector<Worker> workers(std::max<std::int64_t>(1, std::min<std::int64_t>(call.threads, parts)));
    for (Worker& worker : workers) {
        worker.products.resize(kTileRows * most(panels, &Panels<Storage>::widest) * kLanes);
        if (!Storage::as_is) worker.factors.resize(kTileRows * most(panels, &Panels<Storage>::groups));
    }
    return workers;
}

// One thread's rows where each has rows of its own: whole groups.
Rows rows_of(const Call& call, int n, int team) {
    const Groups groups(call.batch);
    const auto begin = [&](int n) { return std::min(call.batch, part(groups.count(), team, n) * groups.rows); };
    return {begin(n), begin(n + 1)};
}

void share(const Call& call, Worker& worker, bool by_units, int n, int team) {
    worker.rows = by_units ? Rows{0, call.batch} : rows_of(call, n, team);
    worker.part = by_units ? n : 0;
    worker.parts = by_units ? team : 1;
}

template <class Storage, class Cell, class... Phases>
void forward(const Call& call) {
    std::array<Panels<Storage>, sizeof...(Phases)> panels = {room_forward<Phases, Storage>(call)...};
    const Walk walk(call, 1);
    const bool by_units = splits_units(call, Cell::gates);
    std::vector<Worker> workers = make_workers(call, panels, by_units);
    for (Worker& worker : workers) worker.forward.reserve(call.batch);
    run_team(static_cast<int>(workers.size()), [&](int n, int team) {
        Worker& worker = workers[n];
        share(call, worker, by_units, n, team);
        int phase = 0;
        (pack_forward<Phases>(call, panels[phase++], n, team), ...);
        wait_for_team();
        for (std::int64_t s = 0; s < call.steps; ++s) {
            gather_forward(walk, worker, Cell::gates, s);
            if (worker.forward.empty()) break;
            phase = 0;
            (forward_phase<Phases>(walk, worker, panels[phase++]), ...);
        }
        const Rows rows = rows_of(call, n, team);
        clear_padding(call, rows, call.outputs, call.hidden);
        if (call.saving) clear_padding(call, rows, call.aside, call.hidden);
        copy_last_state(walk, rows);
    });
}

template <class Storage, class Cell, class... Phases>
void backward(const Call& call) {
    std::array<Panels<Storage>, sizeof...(Phases)> panels = {room_backward<Phases, Storage>(call)...};
    const Walk walk(call, Cell::blocks);
    const bool by_units = splits_units(call, Cell::gates);
    const std::int64_t biases = Cell::blocks * call.hidden, width = Sums<Cell>::count * call.hidden;
    std::vector<float> sums(Groups(call.batch).count() * width);
    std::vector<Worker> workers = make_workers(call, panels, by_units);
    for (Worker& worker : workers) worker.backward.reserve(call.batch);
    run_team(static_cast<int>(workers.size()), [&](int n, int team) {
        Worker& worker = workers[n];
        share(call, worker, by_units, n, team);
        int phase = 0;
        (pack_backward<Phases>(call, panels[phase++], n, team), ...);
        wait_for_team();
        for (std::int64_t s = call.steps - 1; s >= 0; --s) {
            gather_backward(walk, worker, Cell::gates, Cell::blocks, s, sums.data(), width);
            phase = 0;
            (backward_phase<Cell, Phases>(walk, worker, panels[phase++]), ...);
        }
        clear_padding(call, rows_of(call, n, team), call.d_gates, Cell::blocks * call.hidden);
    });
    for (std::size_t group = 0; group < sums.size(); group += width)
        for (std::int64_t k = 0; k < width; ++k) (k < biases ? call.db[k] : call.dp[k - biases]) += sums[group + k];
}

template <class Storage, class Cell>
void one_phase(const Call& call, bool back) {
    back ? backward<Storage, Cell, typename Cell::Backward>(call)
         : forward<Storage, Cell, typename Cell::Forward>(call);
}

template <class Storage>
void gru_before(const Call& call, bool back) {
    using Cell = GruBefore;
    back ? backward<Storage, Cell, Cell::BackwardCandidate, Cell::BackwardReset>(call)
         : forward<Storage, Cell, Cell::ForwardGates, Cell::ForwardCandidate>(call);
}

using Run = void (*)(const Call&, bool);

// In the order of KERNELS in kernels.py.
template <class Storage>
constexpr Run kRuns[] = {
    one_phase<Storage, Lstm<false>>,    one_phase<Storage, Lstm<true>>,    one_phase<Storage, Coupled<false>>,
    one_phase<Storage, Coupled<true>>,  one_phase<Storage, GruAfter>,      gru_before<Storage>,
    one_phase<Storage, Rnn<false>>,     one_phase<Storage, Rnn<true>>,
};

// Calls task with the storage of that number; returns 0, or 1 when there is not enough memory.
template <class Task>
int run_with(int storage, Task task) {
    try {
        switch (storage) {
            case 0: task(Float32{}); break;
#if defined(__AVX512F__)
            case 2: task(Pairs{}); break;
#endif
            default: task(Rounded{});
        }
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace
}  // namespace seqtrain

// INTERFACE in library.py.
SEQTRAIN_EXPORT int seqtrain_interface() { return 4; }

// What compiled it.
SEQTRAIN_EXPORT const char* seqtrain_compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

// The name of the best build for this processor; in the portable build, which runs on all of them.
SEQTRAIN_EXPORT const char* seqtrain_processor() { return seqtrain::best_build(); }

// 0: this engine has no `Pairs` for this processor. 1: they are slower than float32. 2: they are faster.
SEQTRAIN_EXPORT int seqtrain_pairs() {
#if defined(__AVX512F__)
    return seqtrain::multiplies_pairs() ? 1 + seqtrain::pairs_are_faster() : 0;
#else
    return 0;
#endif
}

// 0, or 1 when there is not enough memory.
SEQTRAIN_EXPORT int seqtrain_run(int kernel, int backward, const Call* call) {
    using namespace seqtrain;
    return run_with(call->storage, [&](auto storage) {
        kRuns<decltype(storage)>[kernel](*call, backward != 0);
    });
}

// c [rows, columns] = a [rows, depth] b [depth, columns] (+ bias [columns]) for each of `count` factors; c has no gaps, a
// and b any strides.
SEQTRAIN_EXPORT int seqtrain_product(std::int64_t depth, std::int64_t columns, const seqtrain::Matrix* b,
                                     const float* bias, const seqtrain::Factor* factors, std::int32_t count,
                                     std::int32_t threads, std::int32_t storage) {
    using namespace seqtrain;
    return run_with(storage, [&](auto storage) {
        Product<decltype(storage)>{depth, columns, *b, bias, {factors, factors + count}, threads}.run();
    });
}

// 2 if a target is not the number of a word, and nothing is computed then.
SEQTRAIN_EXPORT int seqtrain_cross_entropy(const seqtrain::CrossEntropy* call) {
    using namespace seqtrain;
    for (std::int64_t row = 0; row < call->rows; ++row)
        if (call->targets[row] < 0 || call->targets[row] >= call->words) return 2;
    return run_with(call->storage, [&](auto storage) { OutputLayer<decltype(storage)>(*call).run(); });
}
