// A matrix product of any layout, c = a b (+ bias), for what stands before and behind the recurrence.
//
// It is here because the micro-kernel of the recurrence is: on the tall, thin matrices of a sequence it is ahead of the
// library that torch brings, most of all where one side is narrow.
#pragma once

#include "flush.h"
#include "panels.h"

namespace seqtrain {

constexpr std::int64_t kPackedDepth = 256;  // of the second factor that is packed at a time

// One thread's.
struct ProductMemory {
    std::vector<float> sums = std::vector<float>(kTileRows * kStripVectors * kLanes);
    std::vector<float> factors = std::vector<float>(kTileRows * kPackedDepth);
};

// The part of a product that comes from the depths [from, from + b.depth()); parts are run in order of depth.
struct PartialProduct {
    const Matrix& a;
    const Panels& b;
    const std::int64_t from;
    const float* bias;
    float* c;
    const std::int64_t columns, stride;  // of c: those that b has, and from one row to the next
    float* turned;                       // if this is the last part of a product whose transpose is wanted
    const std::int64_t turned_stride;

    void run(std::int64_t begin, std::int64_t end, ProductMemory& memory) const {
        const float* rows[kTileRows];
        const std::int64_t tiles = parts_of(end - begin, kTileRows);
        for (std::int64_t tile = 0; tile < tiles; ++tile) {  // of nearly equal size, as their blocks are
            const std::int64_t first = begin + part(end - begin, tiles, tile);
            const int count = static_cast<int>(begin + part(end - begin, tiles, tile + 1) - first);
            const std::int64_t step = gather(first, count, end, rows, memory.factors.data());
            for (std::int64_t panel = 0; panel < b.count(); ++panel)
                multiply(panel, first, rows, count, step, memory.sums.data());
        }
    }

private:
    // Finds a tile's rows, all of them before `end`; returns how far apart the factors of a row are.
    std::int64_t gather(std::int64_t first, int count, std::int64_t end, const float** rows, float* factors) const {
        if (a.column_step == 1) {
            for (int r = 0; r < count; ++r) rows[r] = a.at(first + r, from);
            return 1;
        }
        // A column is far from the next: the rows of a block close up, in the order in which the micro-kernel reads.
        const int blocks = static_cast<int>(parts_of(count, kBlockRows));
        for (int block = 0; block < blocks; ++block, factors += kBlockRows * b.depth()) {
            const int begin = static_cast<int>(part(count, blocks, block));
            const int size = static_cast<int>(part(count, blocks, block + 1)) - begin;
            for (int r = 0; r < size; ++r) rows[begin + r] = factors + r;
            const float* column = a.at(first + begin, from);
            if (a.row_step == 1 && first + begin + kBlockRows <= end)  // a row too many does no harm, and is faster
                for (std::int64_t k = 0; k < b.depth(); ++k, column += a.column_step)
                    std::memcpy(factors + k * kBlockRows, column, sizeof(float) * kBlockRows);
            else
                for (std::int64_t k = 0; k < b.depth(); ++k, column += a.column_step)
                    for (int r = 0; r < size; ++r) factors[k * kBlockRows + r] = column[r * a.row_step];
        }
        return kBlockRows;
    }

    void multiply(std::int64_t panel, std::int64_t first, const float* const* rows, int count, std::int64_t step,
                  float* sums) const {
        const std::int64_t unit = b.start(panel) * kLanes, width = b.width(panel) * kLanes;
        float* to = c + first * stride + unit;
        const float* base = from ? to : bias ? bias + unit : nullptr;
        const std::int64_t base_stride = from ? stride : 0;
        const bool whole = unit + width <= columns;  // else the last vector is wider than c
        if (whole && !turned) {
            b.multiply(panel, rows, count, step, to, stride, base, base_stride);
            return;
        }
        b.multiply(panel, rows, count, step, sums, width, whole ? base : nullptr, base_stride);
        const std::int64_t row_step = turned ? 1 : stride, column_step = turned ? turned_stride : 1;
        if (turned) to = turned + unit * turned_stride + first;
        for (std::int64_t k = 0; k < std::min(width, columns - unit); ++k)
            for (int r = 0; r < count; ++r)
                to[r * row_step + k * column_step] =
                    sums[r * width + k] + (base && !whole ? base[r * base_stride + k] : 0.0f);
    }
};

// c [rows, columns] = a b (+ bias); or, where `turned` is given, that [columns, rows] is its transpose, and c, which is
// then needed if the depth is more than `kPackedDepth`, is room for sums.
struct Product {
    std::int64_t rows, depth, columns;
    const Matrix a, b;
    const float* bias;
    float* c;
    float* turned;
    int threads;

    void run() const { depth > rows ? split_columns() : split_rows(); }

private:
    std::int64_t packed_depth() const { return std::min(kPackedDepth, depth); }

    // The part of the product from a depth on, for the columns [first, first + count).
    PartialProduct partial(const Panels& panels, std::int64_t from, std::int64_t first, std::int64_t count) const {
        const bool last = from + kPackedDepth >= depth;
        return {a, panels, from, bias ? bias + first : nullptr, c + first, count, columns,
                turned && last ? turned + first * rows : nullptr, rows};
    }

    // Threads share b and have rows of their own.
    void split_rows() const {
        Panels panels(packed_depth(), 1, columns);
        std::vector<ProductMemory> memory(threads);
        for (std::int64_t from = 0; from < depth; from += kPackedDepth) {
            panels.pack({b.at(from, 0), b.row_step, b.column_step}, std::min(kPackedDepth, depth - from), threads);
            const PartialProduct product = partial(panels, from, 0, columns);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
            for (int n = 0; n < threads; ++n) {
                const FlushToZero guard;
                product.run(part(rows, threads, n), part(rows, threads, n + 1), memory[n]);
            }
        }
    }

    // Threads have columns of b of their own, and all rows: for a sum over many steps, of which nothing is then read
    // twice nor waited for.
    void split_columns() const {
        const std::int64_t vectors = parts_of(columns, kLanes);
        const int count = static_cast<int>(std::min<std::int64_t>(threads, vectors));
        const auto begin = [&](int n) { return std::min(columns, part(vectors, count, n) * kLanes); };
        std::vector<ProductMemory> memory(count);
        std::vector<Panels> panels;
        for (int n = 0; n < count; ++n) panels.emplace_back(packed_depth(), 1, begin(n + 1) - begin(n));
#pragma omp parallel for num_threads(count) schedule(static, 1)
        for (int n = 0; n < count; ++n) {
            const FlushToZero guard;
            const std::int64_t first = begin(n);
            for (std::int64_t from = 0; from < depth; from += kPackedDepth) {
                panels[n].pack({b.at(from, first), b.row_step, b.column_step}, std::min(kPackedDepth, depth - from), 1);
                partial(panels[n], from, first, begin(n + 1) - first).run(0, rows, memory[n]);
            }
        }
    }
};

}  // namespace seqtrain
