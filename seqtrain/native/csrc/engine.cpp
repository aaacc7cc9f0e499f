// Whole sequences of a recurrent cell, forward and backward, in one call.
//
// What does not depend on the step before (the input projection, the weight gradients) is left to the caller as big
// matrix products. Threads split the batch and run all steps of their rows alone, so nothing waits within a sequence; only
// a few rows beside a large matrix are split by hidden units instead, with a wait after every phase.

#include <array>
#include <cstdint>
#include <new>

#include "cells.h"
#include "panels.h"
#include "product.h"

// All arrays are float32, without gaps. [T, B, ...] unless said otherwise; blocks = gates, or 4 for gru_after.
struct Call {
    std::int64_t steps, batch, hidden;
    const std::int64_t* lengths;  // [B], or null: every row fills T
    std::int32_t reverse;
    std::int32_t saving;   // keep what backward needs; else `aside` is one step that is written over, `cells` is c_last
    std::int32_t threads;
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
    const float* ahead;  // `gates` of the row's next step
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

// Sums over the rows for one vector of units.
template <class Cell>
struct Sums {
    Vec b[Cell::blocks] = {};
    Vec p[Cell::peeps + 1] = {};  // + 1: no array may be empty
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
    std::vector<ForwardRow> forward;
    std::vector<BackwardRow> backward;
    std::vector<float> db, dp;
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

// One phase for a thread's share: the product with a panel, then the equations of the panel's units while it is still near.
template <class Phase, class Row, class Source, class Equations>
void run_phase(const Panels& panels, Worker& worker, const std::vector<Row>& rows, std::int64_t H, int columns,
               const float* zeros, Source source, Equations equations) {
    float* products = worker.products.data();
    const std::int64_t begin = part(panels.count(), worker.parts, worker.part);
    const std::int64_t end = part(panels.count(), worker.parts, worker.part + 1);
    const float* sources[kTileRows];
    const std::int64_t all = static_cast<std::int64_t>(rows.size());
    for (std::int64_t first = 0; first < all; first += kTileRows) {
        const int count = static_cast<int>(std::min<std::int64_t>(kTileRows, all - first));
        bool all_zero = true;  // as at the first step: no product then
        for (int r = 0; r < count; ++r) all_zero &= (sources[r] = source(rows[first + r])) == zeros;
        for (std::int64_t panel = begin; panel < end; ++panel) {
            const std::int64_t stride = panels.width(panel) * kLanes;
            if (all_zero)
                std::fill_n(products, count * stride, 0.0f);
            else
                panels.multiply(panel, panels.depth(), sources, count, 1, products, stride);
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

template <class Phase>
void forward_phase(const Walk& walk, Worker& worker, const Panels& panels) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    run_phase<Phase>(
        panels, worker, worker.forward, H, Phase::count, walk.zeros(),
        [](const ForwardRow& row) { return Phase::from == From::h ? row.h_old : row.aside; },
        [&](auto lanes, const ForwardRow* rows, int count, std::int64_t unit, const float* products,
            std::int64_t stride) {
            for (int r = 0; r < count; ++r) {
                // A whole step early; the lines are too far apart for the processor to see them coming.
                for (int k = 0; k < Phase::count; ++k)
                    __builtin_prefetch(rows[r].ahead + (Phase::first + k) * H + unit);
                Phase::step(ForwardAt<decltype(lanes)>{rows[r], lanes, H, unit, products + r * stride, Phase::first,
                                                       call.p, call.saving != 0});
            }
        });
}

template <class Cell, class Phase>
void backward_phase(const Walk& walk, Worker& worker, const Panels& panels) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    const float* zeros = walk.zeros();
    run_phase<Phase>(
        panels, worker, worker.backward, H, 1, zeros,
        [H, zeros](const BackwardRow& row) {
            const float* grads = Phase::grads == Grads::next ? row.next : row.d_gates;
            return grads == zeros ? zeros : grads + Phase::block * H;
        },
        [&](auto lanes, const BackwardRow* rows, int count, std::int64_t unit, const float* products,
            std::int64_t stride) {
            Sums<Cell> sums;
            for (int r = 0; r < count; ++r)
                Phase::step(BackwardAt<Cell, decltype(lanes)>{rows[r], lanes, H, unit, products + r * stride, call.p,
                                                              sums});
            for (int k = 0; k < Cell::blocks; ++k) {
                float* db = worker.db.data() + k * H + unit;
                lanes.store(db, lanes.load(db) + sums.b[k]);
            }
            for (int k = 0; k < Cell::peeps; ++k) {
                float* dp = worker.dp.data() + k * H + unit;
                lanes.store(dp, lanes.load(dp) + sums.p[k]);
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

void gather_backward(const Walk& walk, Worker& worker, std::int64_t gates, std::int64_t blocks, std::int64_t s) {
    const Call& call = walk.call;
    const std::int64_t H = call.hidden;
    worker.backward.clear();
    for (std::int64_t b = worker.rows.begin; b < worker.rows.end; ++b) {
        if (s >= walk.length(b)) continue;
        const std::int64_t place = walk.place(b, s);
        const bool last = s + 1 == walk.length(b);
        worker.backward.push_back({call.gates + place * gates * H, at(call.cells, place * H), at(call.aside, place * H),
                                   walk.h_old(b, s), walk.c_old(b, s),
                                   call.d_outputs ? call.d_outputs + place * H : walk.zeros(),
                                   last ? walk.zeros() : call.d_gates + walk.place(b, s + 1) * blocks * H,
                                   call.d_gates + place * blocks * H, call.dh + b * H, at(call.dc, b * H)});
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

template <class Phase>
Panels room_forward(const Call& call) {
    return Panels(call.hidden, Phase::count, call.hidden);
}

template <class Phase>
Panels room_backward(const Call& call) {
    return Panels(Phase::count * call.hidden, 1, call.hidden);
}

// The transpose of the phase's part of w_h.
template <class Phase>
void pack_forward(const Call& call, Panels& panels, int n, int team) {
    const std::int64_t H = call.hidden;
    panels.pack({call.w_h + Phase::first * H * H, 1, H}, H, n, team);
}

template <class Phase>
void pack_backward(const Call& call, Panels& panels, int n, int team) {
    const std::int64_t H = call.hidden;
    panels.pack({call.w_h + Phase::first * H * H, H, 1}, Phase::count * H, n, team);
}

template <std::size_t phases>
std::int64_t widest(const std::array<Panels, phases>& panels) {
    std::int64_t most = 0;
    for (const Panels& one : panels) most = std::max(most, one.widest());
    return most;
}

// Whether threads split the hidden units rather than the batch: with so few rows each that the micro-kernel is not busy,
// if there is enough to do between two waits. Measured.
bool splits_units(const Call& call, int gates) {
    return parts_of(call.batch, call.threads) < kBlockRows - 1 && gates * call.hidden * call.hidden > 30000;
}

template <class Cell, std::size_t phases>
std::vector<Worker> hire(const Call& call, const std::array<Panels, phases>& panels, bool by_units, bool backward) {
    const std::int64_t most = by_units ? panels[0].count() : call.batch;
    std::vector<Worker> workers(std::max<std::int64_t>(1, std::min<std::int64_t>(call.threads, most)));
    for (Worker& worker : workers) {
        worker.products.resize(kTileRows * widest(panels) * kLanes);
        if (backward) {
            worker.backward.reserve(call.batch);
            worker.db.resize(Cell::blocks * call.hidden);
            worker.dp.resize(Cell::peeps * call.hidden);
        } else {
            worker.forward.reserve(call.batch);
        }
    }
    return workers;
}

// One thread's rows where each has rows of its own.
Rows rows_of(const Call& call, int n, int team) { return {part(call.batch, team, n), part(call.batch, team, n + 1)}; }

void share(const Call& call, Worker& worker, bool by_units, int n, int team) {
    worker.rows = by_units ? Rows{0, call.batch} : rows_of(call, n, team);
    worker.part = by_units ? n : 0;
    worker.parts = by_units ? team : 1;
}

template <class Cell, class... Phases>
void forward(const Call& call) {
    std::array<Panels, sizeof...(Phases)> panels = {room_forward<Phases>(call)...};
    const Walk walk(call, 1);
    const bool by_units = splits_units(call, Cell::gates);
    std::vector<Worker> workers = hire<Cell>(call, panels, by_units, false);
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

// In the order of the workers, so that a sum has the same bytes each time.
void add_up(const std::vector<Worker>& workers, std::vector<float> Worker::* part, float* sum) {
    for (const Worker& worker : workers)
        for (std::size_t k = 0; k < (worker.*part).size(); ++k) sum[k] += (worker.*part)[k];
}

template <class Cell, class... Phases>
void backward(const Call& call) {
    std::array<Panels, sizeof...(Phases)> panels = {room_backward<Phases>(call)...};
    const Walk walk(call, Cell::blocks);
    const bool by_units = splits_units(call, Cell::gates);
    std::vector<Worker> workers = hire<Cell>(call, panels, by_units, true);
    run_team(static_cast<int>(workers.size()), [&](int n, int team) {
        Worker& worker = workers[n];
        share(call, worker, by_units, n, team);
        int phase = 0;
        (pack_backward<Phases>(call, panels[phase++], n, team), ...);
        wait_for_team();
        for (std::int64_t s = call.steps - 1; s >= 0; --s) {
            gather_backward(walk, worker, Cell::gates, Cell::blocks, s);
            phase = 0;
            (backward_phase<Cell, Phases>(walk, worker, panels[phase++]), ...);
        }
        clear_padding(call, rows_of(call, n, team), call.d_gates, Cell::blocks * call.hidden);
    });
    add_up(workers, &Worker::db, call.db);
    add_up(workers, &Worker::dp, call.dp);
}

template <class Cell>
void one_phase(const Call& call, bool back) {
    back ? backward<Cell, typename Cell::Backward>(call) : forward<Cell, typename Cell::Forward>(call);
}

void gru_before(const Call& call, bool back) {
    using Cell = GruBefore;
    back ? backward<Cell, Cell::BackwardCandidate, Cell::BackwardReset>(call)
         : forward<Cell, Cell::ForwardGates, Cell::ForwardCandidate>(call);
}

using Run = void (*)(const Call&, bool);

// In the order of KERNELS in kernels.py.
constexpr Run kRuns[] = {
    one_phase<Lstm<false>>,    one_phase<Lstm<true>>, one_phase<Coupled<false>>, one_phase<Coupled<true>>,
    one_phase<GruAfter>,       gru_before,            one_phase<Rnn<false>>,     one_phase<Rnn<true>>,
};

}  // namespace
}  // namespace seqtrain

// INTERFACE in library.py.
extern "C" int seqtrain_interface() { return 2; }

// 0, or 1 when there is not enough memory.
extern "C" int seqtrain_run(int kernel, int backward, const Call* call) {
    try {
        seqtrain::kRuns[kernel](*call, backward != 0);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// c [rows, columns] = a [rows, depth] b [depth, columns] (+ bias [columns]) for each of `count` factors; c has no gaps, a
// and b any strides.
extern "C" int seqtrain_product(std::int64_t depth, std::int64_t columns, const seqtrain::Matrix* b, const float* bias,
                                const seqtrain::Factor* factors, std::int32_t count, std::int32_t threads) {
    using namespace seqtrain;
    try {
        Product{depth, columns, *b, bias, {factors, factors + count}, threads}.run();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
