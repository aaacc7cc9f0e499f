// Matrix products of a few rows with the recurrent matrix, which is packed once a call.
//
// A panel holds all columns of a few vectors of hidden units, so that a product with it leaves everything that the
// pointwise maths of those units needs. It is stored strip by strip, [k][columns of the strip], in the order in which
// the micro-kernel reads it.
#pragma once

#include <algorithm>
#include <vector>

#include "storage.h"
#include "scratch.h"
#include "vector.h"

namespace seqtrain {

constexpr int kStripVectors = kRegisters / 8;  // of columns; times kBlockRows accumulators, plus what is multiplied
constexpr int kBlockRows = 6;
constexpr int kTileRows = 48;   // rows whose sums are kept at once
constexpr int kPackedTogether = 16;  // rows of a matrix that are packed for all panels in turn: read as they lie
constexpr int kGroups = 256;  // of depths in a product before the next rows take their turn: a strip this deep stays in L2

// One turn of the micro-kernel: sums[r][v] = rows[r][k * step] . strip[k][v] over the groups of depths k in
// [from, from + groups), added to what stands in `base` if there is one.
struct Turn {
    const float* const* rows;
    std::int64_t step, from, groups;
    const float* strip;
    float* sums;
    std::int64_t stride;  // from one row of sums to the next
    const float* base;
    std::int64_t base_stride;
};

template <class Storage, int Rows, int Vectors>
void multiply_block(const Turn& turn) {
    const std::int64_t groups = turn.groups, step = turn.step, stride = turn.stride;
    const float* strip = turn.strip;
    float* sums = turn.sums;
    Vec total[Rows][Vectors];
    const float* row[Rows];
    SEQTRAIN_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
        row[r] = turn.rows[r] + turn.from * step;
        SEQTRAIN_UNROLL(4)
        for (int v = 0; v < Vectors; ++v)
            total[r][v] = turn.base ? load(turn.base + r * turn.base_stride + v * kLanes) : Vec{};
    }
    for (std::int64_t k = 0; k < groups; ++k) {
        Vec column[Vectors];
        SEQTRAIN_UNROLL(4)
        for (int v = 0; v < Vectors; ++v) column[v] = load(strip + (k * Vectors + v) * kLanes);
        SEQTRAIN_UNROLL(8)
        for (int r = 0; r < Rows; ++r) {
            const Vec factor = Storage::spread(row[r] + k * step);
            SEQTRAIN_UNROLL(4)
            for (int v = 0; v < Vectors; ++v) Storage::add_product(total[r][v], factor, column[v]);
        }
    }
    SEQTRAIN_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
        SEQTRAIN_UNROLL(4)
        for (int v = 0; v < Vectors; ++v) store(sums + r * stride + v * kLanes, total[r][v]);
    }
}

using Block = void (*)(const Turn&);

template <class Storage, int Vectors>
Block block_of(int rows) {
    constexpr Block blocks[] = {multiply_block<Storage, 1, Vectors>, multiply_block<Storage, 2, Vectors>,
                                multiply_block<Storage, 3, Vectors>, multiply_block<Storage, 4, Vectors>,
                                multiply_block<Storage, 5, Vectors>, multiply_block<Storage, 6, Vectors>};
    static_assert(sizeof(blocks) / sizeof(blocks[0]) == kBlockRows, "one for each number of rows");
    return blocks[rows - 1];
}

template <class Storage>
Block block_of(int rows, int vectors) {
    switch (vectors) {
        case 1: return block_of<Storage, 1>(rows);
        case 2: return block_of<Storage, 2>(rows);
        case 3: return block_of<Storage, 3>(rows);
        default: return block_of<Storage, 4>(rows);
    }
}

// The first of the `parts` equal parts of `whole` begins at 0, the one after the last at `whole`.
inline std::int64_t part(std::int64_t whole, std::int64_t parts, std::int64_t index) { return whole * index / parts; }

inline std::int64_t parts_of(std::int64_t whole, std::int64_t most) { return (whole + most - 1) / most; }

// sums = rows times a strip down to `groups` (+ base), for `count` rows whose factors are `step` floats apart.
// `between` is called before each turn of the micro-kernel.
template <class Storage, class Between>
void multiply_strip(const float* const* rows, int count, std::int64_t step, std::int64_t groups, const float* strip,
                    int vectors, float* sums, std::int64_t stride, const float* base, std::int64_t base_stride,
                    Between between) {
    const int blocks = static_cast<int>(parts_of(count, kBlockRows));
    for (std::int64_t from = 0; from < groups; from += kGroups) {
        const std::int64_t deep = std::min<std::int64_t>(kGroups, groups - from);
        for (int block = 0; block < blocks; ++block) {  // of nearly equal size: a lone row is a slow row
            const int begin = static_cast<int>(part(count, blocks, block));
            const int size = static_cast<int>(part(count, blocks, block + 1)) - begin;
            float* to = sums + begin * stride;
            Turn turn = {rows + begin, step, from, deep, strip + from * vectors * kLanes, to, stride, to, stride};
            if (from == 0) {
                turn.base = base ? base + begin * base_stride : nullptr;
                turn.base_stride = base_stride;
            }
            between();
            block_of<Storage>(size, vectors)(turn);
        }
    }
}

// A matrix of any layout.
struct Matrix {
    const float* data;
    std::int64_t row_step, column_step;
    const float* at(std::int64_t row, std::int64_t column) const {
        return data + row * row_step + column * column_step;
    }
};

// The first `lanes` lanes of a vector from a row, and zero in the others.
inline Vec vector_at(const Matrix& matrix, std::int64_t row, std::int64_t column, std::int64_t lanes) {
    const float* from = matrix.at(row, column);
    if (matrix.column_step == 1) return lanes == kLanes ? load(from) : SomeLanes(static_cast<int>(lanes)).load(from);
    Vec v = {};
    for (std::int64_t lane = 0; lane < lanes; ++lane) v[lane] = from[lane * matrix.column_step];
    return v;
}

// Room for a matrix [depth, columns * hidden] as panels: each hidden unit has a column in each of the `columns` blocks.
template <class Storage>
class Panels {
public:
    Panels(std::int64_t depth, int columns, std::int64_t hidden)
        : groups_(groups_of<Storage>(depth)), columns_(columns), hidden_(hidden), vectors_(parts_of(hidden, kLanes)),
          count_(parts_of(vectors_, std::max(1, kStripVectors / columns))),
          data_(groups_ * columns * vectors_ * kLanes) {}

    // Take over one of `parts` parts of a matrix that is at most as deep as there is room.
    void pack(const Matrix& matrix, std::int64_t depth, int index, int parts) {
        const std::int64_t chunks = parts_of(depth, kPackedTogether);
        for (std::int64_t chunk = part(chunks, parts, index); chunk < part(chunks, parts, index + 1); ++chunk)
            for (std::int64_t panel = 0; panel < count_; ++panel)
                pack_panel(matrix, panel, chunk * kPackedTogether, std::min(depth, (chunk + 1) * kPackedTogether));
    }

    std::int64_t groups() const { return groups_; }
    std::int64_t count() const { return count_; }
    std::int64_t start(std::int64_t panel) const { return part(vectors_, count_, panel); }  // in vectors of units
    std::int64_t width(std::int64_t panel) const { return columns_ * (start(panel + 1) - start(panel)); }  // in vectors

    // sums = rows times the panel down to `groups` (+ base), for `count` rows whose factors are `step` floats apart.
    void multiply(std::int64_t panel, std::int64_t groups, const float* const* rows, int count, std::int64_t step,
                  float* sums, std::int64_t stride, const float* base = nullptr, std::int64_t base_stride = 0) const {
        const float* data = data_.get() + start(panel) * columns_ * groups_ * kLanes;
        for (int strip = 0; strip < strips(panel); ++strip) {
            const std::int64_t first = strip_start(panel, strip);
            const int vectors = static_cast<int>(strip_start(panel, strip + 1) - first);
            const float* at = data + first * groups_ * kLanes;
            const float* from = base ? base + first * kLanes : nullptr;
            multiply_strip<Storage>(rows, count, step, groups, at, vectors, sums + first * kLanes, stride, from, base_stride,
                                    [] {});
        }
    }

    // The only strip of a panel with one column, from a group of depths on.
    const float* strip(std::int64_t panel, std::int64_t group) const {
        return data_.get() + (start(panel) * groups_ + group * width(panel)) * kLanes;
    }

    std::int64_t widest() const { return columns_ * parts_of(vectors_, count_); }

private:
    void pack_panel(const Matrix& matrix, std::int64_t panel, std::int64_t from, std::int64_t end) {
        for (int strip = 0; strip < strips(panel); ++strip) {
            const std::int64_t first = strip_start(panel, strip), last = strip_start(panel, strip + 1);
            const std::int64_t step = (last - first) * kLanes;
            float* to = data_.get() + (start(panel) * columns_ + first) * groups_ * kLanes + from / depths * step;
            for (std::int64_t c = first; c < last; ++c, to += kLanes) {
                const std::int64_t unit = (start(panel) + c / columns_) * kLanes;
                const std::int64_t lanes = std::min<std::int64_t>(kLanes, hidden_ - unit);
                const std::int64_t column = c % columns_ * hidden_ + unit;
                std::int64_t k = from;
                const auto group = [&] { return to + (k - from) / depths * step; };
                if (matrix.row_step == 1 && lanes == kLanes)
                    for (; k + kLanes <= end; k += kLanes) pack_square(matrix, k, column, group(), step);
                for (; k < end; k += depths) {
                    const Vec next = k + 1 < end ? vector_at(matrix, k + 1, column, lanes) : Vec{};
                    store(group(), Storage::join(vector_at(matrix, k, column, lanes), next));
                }
            }
        }
    }

    // As many rows as there are lanes, of a matrix whose columns lie in one piece.
    static void pack_square(const Matrix& matrix, std::int64_t k, std::int64_t column, float* to, std::int64_t step) {
        Vec square[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) square[lane] = load(matrix.at(k, column + lane));
        transpose(square);
        for (int row = 0; row < kLanes; row += depths)
            store(to + row / depths * step, Storage::join(square[row], square[row + depths - 1]));
    }

    int strips(std::int64_t panel) const { return static_cast<int>(parts_of(width(panel), kStripVectors)); }
    std::int64_t strip_start(std::int64_t panel, int strip) const { return part(width(panel), strips(panel), strip); }

    static constexpr int depths = Storage::depths;

    std::int64_t groups_;  // of depths, that there is room for
    int columns_;
    std::int64_t hidden_;
    std::int64_t vectors_;  // of hidden units
    std::int64_t count_;
    Scratch data_;
};

}  // namespace seqtrain
