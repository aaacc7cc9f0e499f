// The output layer of a model: projection, log-softmax, cross-entropy and all gradients in one call.
//
// All scores of a batch, [rows, words], are never in memory together. They are computed for a chunk of the rows at a
// time, and in tiles of words, which stay in the cache:
//
//   1. for each tile: scores = W F^T + b, their maximum and e = exp(scores - maximum); e is kept for the chunk
//   2. for each row: the logarithm of the sum over all tiles, and the loss
//   3. for each tile: p = e * factor of the row; dW += p F, dF += p^T W, db += sum of p
//
// A tile is stored [word][row]. So the matrix W is read as it lies, in all three products, and each row of the batch has
// a lane of its own. The words are cut into slices, whose number does not depend on the threads: each thread takes
// whole slices, and the gradients of F are added in the order of the slices. The result is the same for any number of
// threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "panels.h"
#include "team.h"

namespace seqtrain {

constexpr std::int64_t kChunkRows = 256;  // of the batch; more read W less often, and need more memory
constexpr std::int64_t kWordTile = 96;    // with the scores of a strip, this stays in L1
constexpr std::int64_t kSliceWords = 512;  // at least, if there is more than one slice
constexpr std::int64_t kSlices = 16;      // at most; as many threads have work

// The arguments of a call; `_Call` in linear_cross_entropy.py. All arrays are float32 without gaps.
struct CrossEntropy {
    std::int64_t rows, hidden, words;
    const float* features;        // [rows, hidden]
    const float* weight;          // [words, hidden]
    const float* bias;            // [words], or null
    const std::int64_t* targets;  // [rows]
    const float* scales;          // [rows] the gradient of each loss, or null: `scale` for all
    float scale;
    std::int32_t threads, storage;
    float* losses;      // [rows]
    float* d_features;  // [rows, hidden]; each of the gradients may be null, and is not computed then
    float* d_weight;    // [words, hidden]
    float* d_bias;      // [words]
};

// e^x for x <= 0, or NaN; where it would be subnormal it is 0.
inline Vec exponential_or_zero(Vec x) {
    const Exponential e = exponential(at_least(x, -87.0f));
    return x < -87.0f ? Vec{} : e.scale + e.scale * e.p;
}

// The words [begin, end) and where their scores of a chunk lie.
struct WordTile {
    std::int64_t begin, end, index;
    std::int64_t size() const { return end - begin; }
};

// Brings memory that will be needed soon nearer, a part at a time: between the turns of the micro-kernel, which leaves
// the memory idle.
class Prefetch {
public:
    Prefetch(const float* from, std::int64_t count, std::int64_t turns)
        : from_(from), lines_(from ? parts_of(count, kLineFloats) : 0), turns_(turns) {}

    void fetch() {
        for (const std::int64_t end = std::min(lines_, parts_of(lines_ * ++turn_, turns_)); line_ < end; ++line_)
            __builtin_prefetch(from_ + line_ * kLineFloats, 0, 2);
    }

private:
    const float* from_;
    std::int64_t lines_, turns_, turn_ = 0, line_ = 0;
};

template <class Storage>
class OutputLayer {
public:
    explicit OutputLayer(const CrossEntropy& call)
        : call(call), has_gradient_(call.d_features || call.d_weight || call.d_bias),
          slices_(slices_of(call.words)),
          slice_tiles_(parts_of(parts_of(call.words, slices_), kWordTile)), across_(call.hidden, 1, call.rows),
          along_(call.d_weight ? call.rows : 0, 1, call.hidden),
          chunks_(parts_of(call.rows, kChunkRows)), width_(widest_chunk()), stride_((width_ | 1) * kLanes),
          tiles_(slices_ * kWordTile * stride_), kept_(has_gradient_ ? call.words * stride_ : 0),
          maxima_(slices_ * slice_tiles_ * stride_), totals_(slices_ * slice_tiles_ * stride_),
          largest_(stride_), factors_(stride_), chosen_(stride_),
          partial_(call.d_features ? slices_ * width_ * kLanes * unit_stride() : 0),
          words_(slices_ * kWordTile * unit_stride()), grads_(Storage::as_is ? 0 : slices_ * kWordTile * stride_),
          ends_(call.d_weight ? slices_ * kWordTile * kStripVectors * kLanes : 0) {}

    void run() {
        const std::int64_t H = call.hidden;
        const int threads = static_cast<int>(std::min<std::int64_t>(call.threads, slices_));
        run_team(threads, [&](int n, int team) {
            across_.pack({call.features, 1, H}, H, n, team);
            if (call.d_weight) along_.pack({call.features, H, 1}, call.rows, n, team);
            wait_for_team();
            for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) run_chunk(chunk, n, team);
        });
    }

private:
    void run_chunk(std::int64_t chunk, int n, int team) {
        const std::int64_t begin = part(slices_, team, n), end = part(slices_, team, n + 1);
        const Chunk rows = chunk_of(chunk);
        for (std::int64_t slice = begin; slice < end; ++slice)
            for (std::int64_t tile = 0; tile < slice_tiles_; ++tile) score(rows, n, tile_of(slice, tile));
        wait_for_team();
        for (std::int64_t v = part(rows.width, team, n); v < part(rows.width, team, n + 1); ++v) normalise(rows, v);
        wait_for_team();
        if (!has_gradient_) return;
        for (std::int64_t slice = begin; slice < end; ++slice)
            for (std::int64_t tile = 0; tile < slice_tiles_; ++tile)
                differentiate(rows, n, slice, tile, tile_of(slice, tile));
        wait_for_team();
        if (!call.d_features) return;
        for (std::int64_t r = part(rows.count, team, n); r < part(rows.count, team, n + 1); ++r) add_slices(rows, r);
    }

    // Some strips of rows; `start` and `width` in vectors.
    struct Chunk {
        std::int64_t panel, end_panel, start, width, count;
        bool is_first() const { return start == 0; }
        std::int64_t first() const { return start * kLanes; }
    };

    Chunk chunk_of(std::int64_t chunk) const {
        const std::int64_t panel = part(across_.count(), chunks_, chunk);
        const std::int64_t end = part(across_.count(), chunks_, chunk + 1);
        const std::int64_t start = across_.start(panel), width = across_.start(end) - start;
        return {panel, end, start, width, std::min(width * kLanes, call.rows - start * kLanes)};
    }

    std::int64_t widest_chunk() const {
        std::int64_t most = 0;
        for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) most = std::max(most, chunk_of(chunk).width);
        return most;
    }

    WordTile tile_of(std::int64_t slice, std::int64_t tile) const {
        const std::int64_t first = part(call.words, slices_, slice), last = part(call.words, slices_, slice + 1);
        return {first + part(last - first, slice_tiles_, tile), first + part(last - first, slice_tiles_, tile + 1),
                slice * slice_tiles_ + tile};
    }

    // [word][row] of the tile of a thread.
    float* tile_of(int n) const { return tiles_.get() + n * kWordTile * stride_; }

    // A power of two, as the numbers of threads usually are.
    static std::int64_t slices_of(std::int64_t words) {
        std::int64_t slices = 1;
        while (slices < kSlices && words >= 2 * slices * kSliceWords) slices *= 2;
        return slices;
    }

    std::int64_t unit_stride() const { return parts_of(call.hidden, kLanes) * kLanes; }

    float scale(std::int64_t row) const { return call.scales ? call.scales[row] : call.scale; }

    // Rows of the batch that stand in the vector `v` of all.
    int lanes_at(std::int64_t v) const { return static_cast<int>(std::min<std::int64_t>(kLanes, call.rows - v * kLanes)); }

    void score(const Chunk& rows, int n, const WordTile& tile) {
        const float* words[kWordTile];
        const int count = static_cast<int>(tile.size());
        store_rows({call.weight + tile.begin * call.hidden, call.hidden, 1}, count, call.hidden, words, words_of(n));
        const std::int64_t turns = turns_of(count, across_.groups()) * (rows.end_panel - rows.panel);
        Prefetch weight(next(call.weight, call.hidden, tile), tile.size() * call.hidden, turns);
        Prefetch kept(has_gradient_ ? kept_.get() + tile.begin * stride_ : nullptr, tile.size() * stride_, turns);
        for (std::int64_t panel = rows.panel; panel < rows.end_panel; ++panel) {
            const int vectors = static_cast<int>(across_.width(panel));
            const std::int64_t column = across_.start(panel) - rows.start;
            float* to = tile_of(n) + column * kLanes;
            multiply_strip<Storage>(words, count, 1, across_.groups(), across_.strip(panel, 0), vectors, to, stride_,
                                    nullptr, 0, [&] { weight.fetch(), kept.fetch(); });
            for (std::int64_t v = column; v < column + vectors; ++v)
                exponentiate(rows, tile, v, tile_of(n) + v * kLanes);
        }
    }

    // Finds the rows of a matrix in the storage of products, which takes the place `to` unless they are stored as they are.
    static void store_rows(const Matrix& matrix, int count, std::int64_t depth, const float** rows, float* to) {
        for (int r = 0; r < count; ++r, to += groups_of<Storage>(depth)) {
            rows[r] = Storage::as_is ? matrix.at(r, 0) : to;
            if (!Storage::as_is) Storage::store_row(matrix.at(r, 0), depth, to);
        }
    }

    // Turns of the micro-kernel in a product with one strip.
    static std::int64_t turns_of(std::int64_t rows, std::int64_t groups) {
        return parts_of(rows, kBlockRows) * parts_of(groups, kGroups);
    }

    // The rows of an array [word][...] after those of a tile, if there are as many.
    const float* next(const float* array, std::int64_t stride, const WordTile& tile) const {
        return tile.end + tile.size() <= call.words ? array + tile.end * stride : nullptr;
    }

    float* words_of(int n) const { return words_.get() + n * kWordTile * unit_stride(); }
    float* grads_of(int n) const { return grads_.get() + n * kWordTile * stride_; }

    // Scores become exp(score - maximum of the tile), for the rows in one vector of a chunk.
    void exponentiate(const Chunk& rows, const WordTile& tile, std::int64_t v, const float* scores) {
        const float* bias = call.bias ? call.bias + tile.begin : nullptr;
        const std::int64_t* targets = call.targets + rows.first() + v * kLanes;
        for (int lane = 0; lane < lanes_at(rows.start + v); ++lane) {
            const std::int64_t word = targets[lane] - tile.begin;
            if (word >= 0 && word < tile.size())
                chosen_.get()[v * kLanes + lane] = scores[word * stride_ + lane] + (bias ? bias[word] : 0.0f);
        }
        Vec maximum = Vec{} - std::numeric_limits<float>::max();  // finite, also where all scores are -inf
        for (std::int64_t w = 0; w < tile.size(); ++w) {
            const Vec x = load(scores + w * stride_) + (bias ? bias[w] : 0.0f);
            maximum = x > maximum ? x : maximum;
        }
        Vec total = {};
        float* kept = kept_.get() + tile.begin * stride_ + v * kLanes;
        for (std::int64_t w = 0; w < tile.size(); ++w) {
            const Vec x = load(scores + w * stride_) + (bias ? bias[w] : 0.0f);
            const Vec e = exponential_or_zero(x - maximum);  // NaN stays NaN
            total += e;
            if (has_gradient_) store(kept + w * stride_, e);
        }
        store(maxima_.get() + tile.index * stride_ + v * kLanes, maximum);
        store(totals_.get() + tile.index * stride_ + v * kLanes, total);
    }

    // The loss of the rows in one vector of a chunk, and what their gradients are multiplied by.
    void normalise(const Chunk& rows, std::int64_t v) {
        const std::int64_t tiles = slices_ * slice_tiles_;
        const float *maxima = maxima_.get() + v * kLanes, *totals = totals_.get() + v * kLanes;
        Vec largest = load(maxima);
        for (std::int64_t t = 1; t < tiles; ++t) {
            const Vec maximum = load(maxima + t * stride_);
            largest = maximum > largest ? maximum : largest;
        }
        double sums[kLanes] = {};
        for (std::int64_t t = 0; t < tiles; ++t) {
            const Vec sum = load(totals + t * stride_) * exponential_or_zero(load(maxima + t * stride_) - largest);
            for (int lane = 0; lane < kLanes; ++lane) sums[lane] += sum[lane];
        }
        store(largest_.get() + v * kLanes, largest);
        for (int lane = 0; lane < lanes_at(rows.start + v); ++lane) {
            const std::int64_t row = rows.first() + v * kLanes + lane;
            factors_.get()[v * kLanes + lane] = static_cast<float>(scale(row) / sums[lane]);
            const double above = static_cast<double>(largest[lane]) - chosen_.get()[v * kLanes + lane];
            call.losses[row] = static_cast<float>(above + std::log(sums[lane]));
        }
    }

    void differentiate(const Chunk& rows, int n, std::int64_t slice, std::int64_t number, const WordTile& tile) {
        turn_into_gradient(rows, n, tile);
        if (call.d_bias) add_d_bias(rows, n, tile);
        if (call.d_features) add_d_features(rows, n, slice, number, tile);
        if (call.d_weight) add_d_weight(rows, n, tile);
    }

    void turn_into_gradient(const Chunk& rows, int n, const WordTile& tile) {
        const float* kept = kept_.get() + tile.begin * stride_;
        float* grads = tile_of(n);
        Vec factors[kChunkRows / kLanes + 4 * kStripVectors];  // a chunk has whole strips
        for (std::int64_t v = 0; v < rows.width; ++v)
            factors[v] = load(factors_.get() + v * kLanes) *
                exponential_or_zero(load(maxima_.get() + tile.index * stride_ + v * kLanes) - load(largest_.get() + v * kLanes));
        for (std::int64_t w = 0; w < tile.size(); ++w)
            for (std::int64_t v = 0; v < rows.width; ++v) {
                const std::int64_t at = w * stride_ + v * kLanes;
                store(grads + at, load(kept + at) * factors[v]);
            }
        for (std::int64_t r = 0; r < rows.count; ++r) {
            const std::int64_t word = call.targets[rows.first() + r] - tile.begin;
            if (word >= 0 && word < tile.size()) grads[word * stride_ + r] -= scale(rows.first() + r);
        }
    }

    void add_d_bias(const Chunk& rows, int n, const WordTile& tile) {
        const std::int64_t whole = rows.count / kLanes;
        for (std::int64_t w = 0; w < tile.size(); ++w) {
            const float* at = tile_of(n) + w * stride_;
            Vec total = {};
            for (std::int64_t v = 0; v < whole; ++v) total += load(at + v * kLanes);
            total += SomeLanes(static_cast<int>(rows.count % kLanes)).load(at + whole * kLanes);
            float sum = rows.is_first() ? 0.0f : call.d_bias[tile.begin + w];
            for (int lane = 0; lane < kLanes; ++lane) sum += total[lane];
            call.d_bias[tile.begin + w] = sum;
        }
    }

    // dW [word][hidden] += gradients [word][row] times F [row][hidden].
    void add_d_weight(const Chunk& rows, int n, const WordTile& tile) {
        const std::int64_t H = call.hidden, groups = groups_of<Storage>(rows.count);
        const float* words[kWordTile];
        const int count = static_cast<int>(tile.size());
        store_rows({tile_of(n), stride_, 1}, count, rows.count, words, grads_of(n));
        Prefetch kept(next(kept_.get(), stride_, tile), count * stride_, turns_of(count, groups) * along_.count());
        const auto prefetch = [&] { kept.fetch(); };
        for (std::int64_t strip = 0; strip < along_.count(); ++strip) {
            const int vectors = static_cast<int>(along_.width(strip));
            const float* features = along_.strip(strip, rows.first() / Storage::depths);
            const std::int64_t unit = along_.start(strip) * kLanes, width = vectors * kLanes;
            float *own = call.d_weight + tile.begin * H + unit, *end = ends_.get() + n * kWordTile * kStripVectors * kLanes;
            if (unit + width <= H) {
                multiply_strip<Storage>(words, count, 1, groups, features, vectors, own, H, rows.is_first() ? nullptr : own, H, prefetch);
                continue;
            }
            multiply_strip<Storage>(words, count, 1, groups, features, vectors, end, width, nullptr, 0, prefetch);
            for (int w = 0; w < count; ++w)  // the last vector is wider than dW
                add_row(end + w * width, H - unit, own + w * H, rows.is_first());
        }
    }

    static void add_row(const float* from, std::int64_t count, float* to, bool is_first) {
        for (std::int64_t k = 0; k < count; k += kLanes) {
            const SomeLanes lanes(static_cast<int>(std::min<std::int64_t>(kLanes, count - k)));
            const Vec sum = lanes.load(from + k);
            lanes.store(to + k, is_first ? sum : sum + lanes.load(to + k));
        }
    }

    // dF [row][hidden] += gradients [row][word] times W [word][hidden], for each slice apart.
    void add_d_features(const Chunk& rows, int n, std::int64_t slice, std::int64_t number, const WordTile& tile) {
        constexpr std::int64_t kTogether = 8 * kBlockRows;
        const std::int64_t groups = groups_of<Storage>(tile.size());
        const float *columns = store_columns(rows, n, tile), *words = pack_words(n, tile);
        const std::int64_t turns = parts_of(rows.count, kTogether) * turns_of(kTogether, groups) * along_.count();
        Prefetch weight(next(call.weight, call.hidden, tile), tile.size() * call.hidden, turns);
        Prefetch own(call.d_weight ? call.d_weight + tile.begin * call.hidden : nullptr, tile.size() * call.hidden, turns);
        const float* grads[kTogether];
        for (std::int64_t row = 0; row < rows.count; row += kTogether) {
            const int count = static_cast<int>(std::min(kTogether, rows.count - row));
            for (int r = 0; r < count; ++r) grads[r] = columns + row + r;
            float* sums = partial_.get() + (slice * width_ * kLanes + row) * unit_stride();
            for (std::int64_t strip = 0; strip < along_.count(); ++strip) {
                const std::int64_t unit = along_.start(strip) * kLanes;
                multiply_strip<Storage>(grads, count, stride_, groups, words + unit * groups,
                                        static_cast<int>(along_.width(strip)), sums + unit, unit_stride(),
                                        number ? sums + unit : nullptr, unit_stride(),
                                        [&] { weight.fetch(), own.fetch(); });
            }
        }
    }

    // The gradients of a tile in the storage of products, neighbouring words side by side: [group of words][row].
    const float* store_columns(const Chunk& rows, int n, const WordTile& tile) const {
        const float* from = tile_of(n);
        if (Storage::as_is) return from;
        float* to = grads_of(n);
        for (std::int64_t w = 0; w < tile.size(); w += Storage::depths)
            for (std::int64_t v = 0; v < rows.width; ++v) {
                const float* at = from + w * stride_ + v * kLanes;
                const Vec next = w + 1 < tile.size() ? load(at + stride_) : Vec{};
                store(to + w / Storage::depths * stride_ + v * kLanes, Storage::join(load(at), next));
            }
        return to;
    }

    // A tile of W as strips [group of words][some units].
    const float* pack_words(int n, const WordTile& tile) const {
        const Matrix words = {call.weight + tile.begin * call.hidden, call.hidden, 1};
        float* to = words_of(n);
        for (std::int64_t strip = 0; strip < along_.count(); ++strip)
            for (std::int64_t w = 0; w < tile.size(); w += Storage::depths)
                for (std::int64_t v = along_.start(strip); v < along_.start(strip + 1); ++v, to += kLanes) {
                    const std::int64_t unit = v * kLanes, lanes = std::min<std::int64_t>(kLanes, call.hidden - unit);
                    const Vec next = w + 1 < tile.size() ? vector_at(words, w + 1, unit, lanes) : Vec{};
                    store(to, Storage::join(vector_at(words, w, unit, lanes), next));
                }
        return words_of(n);
    }

    // The sums over all slices, for a row of a chunk.
    void add_slices(const Chunk& rows, std::int64_t r) {
        const std::int64_t H = call.hidden;
        for (std::int64_t unit = 0; unit < H; unit += kLanes) {
            const float* from = partial_.get() + r * unit_stride() + unit;
            Vec total = load(from);
            for (std::int64_t slice = 1; slice < slices_; ++slice)
                total += load(from + slice * width_ * kLanes * unit_stride());
            float* to = call.d_features + (rows.first() + r) * H + unit;
            SomeLanes(static_cast<int>(std::min<std::int64_t>(kLanes, H - unit))).store(to, total);
        }
    }

    const CrossEntropy& call;
    const bool has_gradient_;
    const std::int64_t slices_, slice_tiles_;  // tiles of each slice
    Panels<Storage> across_;                   // F^T [hidden][rows]
    Panels<Storage> along_;                    // F [rows][hidden]
    const std::int64_t chunks_, width_;        // of the widest chunk, in vectors
    const std::int64_t stride_;                // from one word to the next: an odd number of vectors, as rows that are
                                               // a power of two apart would share few lines of the cache
    Scratch tiles_;                       // the scores of a tile, or their gradients, for each thread
    Scratch kept_;                        // exponentials of the scores of a chunk: [word][row]
    Scratch maxima_, totals_;             // [tile][row]
    Scratch largest_, factors_, chosen_;  // [row]
    Scratch partial_;                     // dF for each slice
    Scratch words_, grads_;               // a tile of W and its gradients in the storage of products, for each thread
    Scratch ends_;                        // of a tile of dW whose last vector is not whole, for each thread
};

}  // namespace seqtrain
