// A matrix product of any layout, c = a b (+ bias), for what stands before and behind the recurrence.
//
// It is here because the micro-kernel of the recurrence is: on the tall, thin matrices of a sequence it is faster than the
// library that torch brings, most of all where one side is narrow.
#pragma once

#include "panels.h"
#include "team.h"

namespace seqtrain {

constexpr std::int64_t kPackedGroups = 1024;       // of depths of the second factor that are packed at a time
constexpr std::int64_t kL2Floats = 160 * 1024;  // of panels that all rows are multiplied by before the next panels
constexpr std::int64_t kGatheredTiles = 16;       // of rows of the first factor that are gathered at a time

// One thread's.
struct ProductMemory {
    ProductMemory(std::int64_t tiles, std::int64_t groups)
        : sums(kTileRows * kStripVectors * kLanes), factors(tiles * kTileRows * groups) {}

    Scratch sums, factors;
    const float* rows[kGatheredTiles * kTileRows];
};

// One first factor of several that are multiplied by the same matrix, and its product: `_Factor` in gemm.py.
struct Factor {
    std::int64_t rows;
    Matrix a;
    std::int64_t begin, end;  // `a` is these columns of the factor; those before and after are zero
    float* c;                 // [rows, columns]
    float* turned;  // [columns, rows]: takes the transpose, or null. Then c is needed only where the depth is more than
                    // is packed at a time, as room for sums.
};

// The part of a product that comes from the depths [from, from + depth); parts are run in order of depth.
template <class Storage>
struct PartialProduct {
    const Factor& factor;
    const Panels<Storage>& b;
    const std::int64_t from, depth;
    const float* bias;
    float* c;
    const std::int64_t columns, stride;  // of c: those that b has, and from one row to the next
    float* turned;                       // if this is the last part of a product whose transpose is wanted

    void run(std::int64_t begin, std::int64_t end, ProductMemory& memory) const {
        const std::int64_t tiles = parts_of(end - begin, kTileRows);  // of nearly equal size, as their blocks are
        for (std::int64_t tile = 0; tile < tiles; tile += kGatheredTiles) {
            const std::int64_t last = std::min(tiles, tile + kGatheredTiles);
            run_tiles(begin + part(end - begin, tiles, tile), begin + part(end - begin, tiles, last), last - tile, end,
                      memory);
        }
    }

private:
    // Some tiles of rows. They are gathered once, and multiplied by a few panels, which stay in L2, then by the next ones.
    void run_tiles(std::int64_t begin, std::int64_t end, std::int64_t tiles, std::int64_t last,
                   ProductMemory& memory) const {
        const std::int64_t groups = groups_of<Storage>(depth);
        const std::int64_t together = std::max<std::int64_t>(1, kL2Floats / (groups * kStripVectors * kLanes));
        const auto first = [&](std::int64_t tile) { return begin + part(end - begin, tiles, tile); };
        const auto count = [&](std::int64_t tile) { return static_cast<int>(first(tile + 1) - first(tile)); };
        std::int64_t step = 1;
        for (std::int64_t tile = 0; tile < tiles; ++tile)
            step = gather(first(tile), count(tile), last, memory.rows + tile * kTileRows,
                          memory.factors.get() + tile * kTileRows * groups);
        for (std::int64_t panel = 0; panel < b.count(); panel += together)
            for (std::int64_t tile = 0; tile < tiles; ++tile)
                for (std::int64_t one = panel; one < std::min(b.count(), panel + together); ++one)
                    multiply(one, first(tile), memory.rows + tile * kTileRows, count(tile), step, memory.sums.get());
    }

    // Finds a tile's rows, all of them before `end`; returns how far apart the factors of a row are.
    std::int64_t gather(std::int64_t first, int count, std::int64_t end, const float** rows, float* factors) const {
        const Matrix& a = factor.a;
        const std::int64_t begin_k = std::clamp<std::int64_t>(factor.begin - from, 0, depth);
        const std::int64_t end_k = std::clamp<std::int64_t>(factor.end - from, 0, depth);
        if (!Storage::as_is) return convert(first, count, begin_k, end_k, rows, factors);
        if (a.column_step == 1 && end_k - begin_k == depth) {
            for (int r = 0; r < count; ++r) rows[r] = a.at(first + r, from - factor.begin);
            return 1;
        }
        // A column is far from the next: the rows of a block close up, in the order in which the micro-kernel reads.
        const int blocks = static_cast<int>(parts_of(count, kBlockRows));
        for (int block = 0; block < blocks; ++block, factors += kBlockRows * depth) {
            const int begin = static_cast<int>(part(count, blocks, block));
            const int size = static_cast<int>(part(count, blocks, block + 1)) - begin;
            for (int r = 0; r < size; ++r) rows[begin + r] = factors + r;
            std::fill(factors, factors + begin_k * kBlockRows, 0.0f);
            std::fill(factors + end_k * kBlockRows, factors + depth * kBlockRows, 0.0f);
            const float* column = a.at(first + begin, from + begin_k - factor.begin);
            if (a.row_step == 1 && first + begin + kBlockRows <= end)  // a row too many does no harm, and is faster
                for (std::int64_t k = begin_k; k < end_k; ++k, column += a.column_step)
                    std::memcpy(factors + k * kBlockRows, column, sizeof(float) * kBlockRows);
            else
                for (std::int64_t k = begin_k; k < end_k; ++k, column += a.column_step)
                    for (int r = 0; r < size; ++r) factors[k * kBlockRows + r] = column[r * a.row_step];
        }
        return kBlockRows;
    }

    // The same for factors that are not stored as they are; zero but for the depths from `begin_k` to `end_k`.
    std::int64_t convert(std::int64_t first, int count, std::int64_t begin_k, std::int64_t end_k, const float** rows,
                         float* factors) const {
        const Matrix& a = factor.a;
        if (a.column_step == 1 && end_k - begin_k == depth) {
            const std::int64_t groups = groups_of<Storage>(depth);
            for (int r = 0; r < count; ++r) {
                rows[r] = factors + r * groups;
                Storage::store_row(a.at(first + r, from - factor.begin), depth, factors + r * groups);
            }
            return 1;
        }
        for (int r = 0; r < count; ++r) rows[r] = factors + r;
        const Matrix columns = {a.at(first, from - factor.begin), a.column_step, a.row_step};
        const auto column = [&](std::int64_t k, int r) {
            return begin_k <= k && k < end_k ? vector_at(columns, k, r, std::min(kLanes, count - r)) : Vec{};
        };
        for (std::int64_t k = 0; k < depth; k += Storage::depths, factors += kTileRows)
            for (int r = 0; r < count; r += kLanes) store(factors + r, Storage::join(column(k, r), column(k + 1, r)));
        return kTileRows;
    }

    void multiply(std::int64_t panel, std::int64_t first, const float* const* rows, int count, std::int64_t step,
                  float* sums) const {
        const std::int64_t unit = b.start(panel) * kLanes, width = b.width(panel) * kLanes;
        float* to = c + first * stride + unit;
        const float* base = from ? to : bias ? bias + unit : nullptr;
        std::int64_t base_stride = from ? stride : 0;
        const bool whole = unit + width <= columns;  // else the last vector is wider than c
        if (whole && !turned) {
            b.multiply(panel, groups_of<Storage>(depth), rows, count, step, to, stride, base, base_stride);
            return;
        }
        const std::int64_t inside = std::min(width, columns - unit);
        if (base && !whole) {  // in the place of the sums: each sum is added up in one order, wherever a panel ends
            for (int r = 0; r < count; ++r) std::copy_n(base + r * base_stride, inside, sums + r * width);
            base = sums;
            base_stride = width;
        }
        if (turned) prefetch_turned(count, inside, turned + unit * factor.rows + first);
        b.multiply(panel, groups_of<Storage>(depth), rows, count, step, sums, width, base, base_stride);
        if (turned)
            store_turned(sums, width, count, inside, turned + unit * factor.rows + first);
        else
            for (int r = 0; r < count; ++r) std::copy_n(sums + r * width, inside, to + r * stride);
    }

    // Loads the place of a transpose into the cache early. Its rows are too far apart for the processor to do so itself.
    void prefetch_turned(int count, std::int64_t columns, const float* to) const {
        for (std::int64_t k = 0; k < columns; ++k, to += factor.rows)
            for (int r = 0; r < count + kLineFloats - 1; r += kLineFloats)
                __builtin_prefetch(to + std::min(r, count - 1), 1, 2);
    }

    // The transpose of `count` rows of sums, in squares where there are whole ones.
    void store_turned(const float* sums, std::int64_t width, int count, std::int64_t columns, float* to) const {
        for (std::int64_t k = 0; k < columns; k += kLanes)
            for (int r = 0; r < count; r += kLanes) {
                const int rows = std::min(kLanes, count - r);
                const std::int64_t lanes = std::min<std::int64_t>(kLanes, columns - k);
                Vec square[kLanes];
                for (int row = 0; row < kLanes; ++row)
                    square[row] = row < rows ? load(sums + (r + row) * width + k) : Vec{};
                transpose(square);
                for (std::int64_t lane = 0; lane < lanes; ++lane)
                    SomeLanes(rows).store(to + (k + lane) * factor.rows + r, square[lane]);
            }
    }
};

// c = a b (+ bias) for each factor: b is packed once for them all.
template <class Storage>
struct Product {
    std::int64_t depth, columns;
    const Matrix b;
    const float* bias;
    const std::vector<Factor> factors;
    int threads;

    void run() const {
        std::int64_t rows = 0;
        for (const Factor& factor : factors) rows += factor.rows;
        depth > rows ? split_columns() : split_rows();
    }

private:
    static constexpr std::int64_t kPackedDepth = kPackedGroups * Storage::depths;

    std::int64_t part_depth(std::int64_t from) const { return std::min(kPackedDepth, depth - from); }

    Matrix below(std::int64_t row, std::int64_t column) const { return {b.at(row, column), b.row_step, b.column_step}; }

    // The part of a product from a depth on, for the columns [first, first + count).
    PartialProduct<Storage> partial(const Factor& factor, const Panels<Storage>& panels, std::int64_t from, std::int64_t first,
                           std::int64_t count) const {
        const bool turned = factor.turned && from + kPackedDepth >= depth;
        return {factor, panels, from, part_depth(from), bias ? bias + first : nullptr, factor.c + first, count, columns,
                turned ? factor.turned + first * factor.rows : nullptr};
    }

    std::vector<ProductMemory> memory_of(int threads) const {
        std::int64_t rows = 0;
        bool is_gathered = !Storage::as_is;
        for (const Factor& factor : factors) {
            rows = std::max(rows, factor.rows);
            is_gathered |= factor.a.column_step != 1 || factor.begin > 0 || factor.end < depth;
        }
        const std::int64_t tiles = is_gathered ? std::min(kGatheredTiles, parts_of(rows, kTileRows)) : 0;
        std::vector<ProductMemory> memory;
        for (int n = 0; n < threads; ++n) memory.emplace_back(tiles, groups_of<Storage>(part_depth(0)));
        return memory;
    }

    // Threads share b and have rows of their own.
    void split_rows() const {
        Panels<Storage> panels(part_depth(0), 1, columns);
        std::vector<ProductMemory> memory = memory_of(threads);
        run_team(threads, [&](int n, int team) {
            for (std::int64_t from = 0; from < depth; from += kPackedDepth) {
                if (from) wait_for_team();  // until all are done with what was packed before
                panels.pack(below(from, 0), part_depth(from), n, team);
                wait_for_team();
                for (const Factor& factor : factors)
                    partial(factor, panels, from, 0, columns)
                        .run(part(factor.rows, team, n), part(factor.rows, team, n + 1), memory[n]);
            }
        });
    }

    // Threads have columns of b of their own, and all rows: for a sum over many steps, of which nothing is then read
    // twice nor waited for.
    void split_columns() const {
        const std::int64_t vectors = parts_of(columns, kLanes);
        const int count = static_cast<int>(std::min<std::int64_t>(threads, vectors));
        const auto begin = [&](int n) { return std::min(columns, part(vectors, count, n) * kLanes); };
        std::vector<ProductMemory> memory = memory_of(count);
        std::vector<Panels<Storage>> panels;
        for (int n = 0; n < count; ++n) panels.emplace_back(part_depth(0), 1, begin(n + 1) - begin(n));
        run_team(count, [&](int n, int team) {
            for (; n < count; n += team) {
                const std::int64_t first = begin(n);
                for (std::int64_t from = 0; from < depth; from += kPackedDepth) {
                    panels[n].pack(below(from, first), part_depth(from), 0, 1);
                    for (const Factor& factor : factors)
                        partial(factor, panels[n], from, first, begin(n + 1) - first).run(0, factor.rows, memory[n]);
                }
            }
        });
    }
};

}  // namespace seqtrain
