// The equations of the five cells, forward and backward, for one row and one vector of hidden units.
//
// Each struct stands beside the docstring of its class in seqtrain/cells. A phase is one product with (a part of) the
// recurrent matrix and the pointwise maths that needs it; a step is its phases one after another.
//
//   at.pre(k)    pre-activation of gate k: what came from the input plus what came through w_h
//   at.keep(...) the activations that backward needs
//   at.dh()      gradient of h', from the outputs, from the carried part and through w_h
//   at.dgate(k)  gradient of pre-activation k
//
// Blocks of pre-activation gradients stand in the order of the gates, but for the GRU with reset: after (see there).
#pragma once

#include "vector.h"

namespace seqtrain {

inline Vec d_sigmoid(Vec y) { return y * (1.0f - y); }
inline Vec d_tanh(Vec y) { return 1.0f - y * y; }

// A phase of the forward pass multiplies a row of `from` with the blocks [first, first + count) of w_h.
enum class From { h, aside };

// A phase of the backward pass multiplies the blocks [block, block + count) of pre-activation gradients, of the step
// that comes after (From::next) or of this one, with the blocks [first, first + count) of w_h.
enum class Grads { next, now };

template <bool peepholes>
struct Lstm {
    static constexpr int gates = 4, blocks = 4, peeps = peepholes ? 3 : 0;

    struct Forward {
        static constexpr int first = 0, count = 4;
        static constexpr From from = From::h;

        template <class At>
        static void step(At at) {
            const Vec c_old = at.c_old();
            Vec i = at.pre(0), f = at.pre(1), o = at.pre(3);
            if (peepholes) i += at.p(0) * c_old, f += at.p(1) * c_old;
            i = sigmoid(i), f = sigmoid(f);
            const Vec g = tanh(at.pre(2));
            const Vec c = f * c_old + i * g;
            if (peepholes) o += at.p(2) * c;
            o = sigmoid(o);
            at.keep(0, i), at.keep(1, f), at.keep(2, g), at.keep(3, o);
            at.c(c), at.h(o * tanh(c));
        }
    };

    struct Backward {
        static constexpr int first = 0, count = 4, block = 0;
        static constexpr Grads grads = Grads::next;

        template <class At>
        static void step(At at) {
            const Vec i = at.gate(0), f = at.gate(1), g = at.gate(2), o = at.gate(3);
            const Vec c = at.c(), c_old = at.c_old(), tanh_c = tanh(c), dh = at.dh();
            const Vec d_o = dh * tanh_c * d_sigmoid(o);
            Vec dc = at.dc() + dh * o * d_tanh(tanh_c);
            if (peepholes) dc += d_o * at.p(2);
            const Vec di = dc * g * d_sigmoid(i), df = dc * c_old * d_sigmoid(f);
            Vec dc_old = dc * f;
            if (peepholes) {
                dc_old += di * at.p(0) + df * at.p(1);
                at.dp(0, di * c_old), at.dp(1, df * c_old), at.dp(2, d_o * c);
            }
            at.dgate(0, di), at.dgate(1, df), at.dgate(2, dc * i * d_tanh(g)), at.dgate(3, d_o);
            at.carry_dc(dc_old), at.carry_dh(Vec{});
        }
    };
};

template <bool peepholes>
struct Coupled {
    static constexpr int gates = 3, blocks = 3, peeps = peepholes ? 2 : 0;

    struct Forward {
        static constexpr int first = 0, count = 3;
        static constexpr From from = From::h;

        template <class At>
        static void step(At at) {
            const Vec c_old = at.c_old();
            Vec f = at.pre(0), o = at.pre(2);
            if (peepholes) f += at.p(0) * c_old;
            f = sigmoid(f);
            const Vec g = tanh(at.pre(1));
            const Vec c = f * c_old + (1.0f - f) * g;
            if (peepholes) o += at.p(1) * c;
            o = sigmoid(o);
            at.keep(0, f), at.keep(1, g), at.keep(2, o);
            at.c(c), at.h(o * tanh(c));
        }
    };

    struct Backward {
        static constexpr int first = 0, count = 3, block = 0;
        static constexpr Grads grads = Grads::next;

        template <class At>
        static void step(At at) {
            const Vec f = at.gate(0), g = at.gate(1), o = at.gate(2);
            const Vec c = at.c(), c_old = at.c_old(), tanh_c = tanh(c), dh = at.dh();
            const Vec d_o = dh * tanh_c * d_sigmoid(o);
            Vec dc = at.dc() + dh * o * d_tanh(tanh_c);
            if (peepholes) dc += d_o * at.p(1);
            const Vec df = dc * (c_old - g) * d_sigmoid(f);
            Vec dc_old = dc * f;
            if (peepholes) {
                dc_old += df * at.p(0);
                at.dp(0, df * c_old), at.dp(1, d_o * c);
            }
            at.dgate(0, df), at.dgate(1, dc * (1.0f - f) * d_tanh(g)), at.dgate(2, d_o);
            at.carry_dc(dc_old), at.carry_dh(Vec{});
        }
    };
};

// Reset: after. The gradient of W_hn h + b_hn is r * dn, that of W_xn x + b_n is dn; hence four blocks, n, r, z, r * n:
// the first three for the input side, the last three for the recurrent side, both without gaps.
struct GruAfter {
    static constexpr int gates = 3, blocks = 4, peeps = 0;

    struct Forward {
        static constexpr int first = 0, count = 3;
        static constexpr From from = From::h;

        template <class At>
        static void step(At at) {
            const Vec r = sigmoid(at.pre(0)), z = sigmoid(at.pre(1));
            const Vec through = at.through(2) + at.p(0);  // W_hn h + b_hn
            const Vec n = tanh(at.x(2) + r * through);
            at.keep(0, r), at.keep(1, z), at.keep(2, n), at.keep_aside(through);
            at.h(n + z * (at.h_old() - n));
        }
    };

    struct Backward {
        static constexpr int first = 0, count = 3, block = 1;
        static constexpr Grads grads = Grads::next;

        template <class At>
        static void step(At at) {
            const Vec r = at.gate(0), z = at.gate(1), n = at.gate(2), dh = at.dh();
            const Vec dn = dh * (1.0f - z) * d_tanh(n);
            at.dgate(0, dn);
            at.dgate(1, dn * at.aside() * d_sigmoid(r));
            at.dgate(2, dh * (at.h_old() - n) * d_sigmoid(z));
            at.dgate(3, dn * r);
            at.carry_dh(dh * z);
        }
    };
};

// Reset: before. Two phases: n needs r * h of all units.
struct GruBefore {
    static constexpr int gates = 3, blocks = 3, peeps = 0;

    struct ForwardGates {
        static constexpr int first = 0, count = 2;
        static constexpr From from = From::h;

        template <class At>
        static void step(At at) {
            const Vec r = sigmoid(at.pre(0)), z = sigmoid(at.pre(1));
            at.keep(0, r), at.gate(1, z), at.aside(r * at.h_old());
        }
    };

    struct ForwardCandidate {
        static constexpr int first = 2, count = 1;
        static constexpr From from = From::aside;

        template <class At>
        static void step(At at) {
            const Vec n = tanh(at.pre(2)), z = at.x(1);  // z stands where its pre-activation stood
            at.keep(2, n);
            at.h(n + z * (at.h_old() - n));
        }
    };

    struct BackwardCandidate {
        static constexpr int first = 0, count = 2, block = 0;
        static constexpr Grads grads = Grads::next;

        template <class At>
        static void step(At at) {
            const Vec z = at.gate(1), n = at.gate(2), dh = at.dh();
            at.dgate(1, dh * (at.h_old() - n) * d_sigmoid(z));
            at.dgate(2, dh * (1.0f - z) * d_tanh(n));
            at.carry_dh(dh * z);
        }
    };

    struct BackwardReset {
        static constexpr int first = 2, count = 1, block = 2;
        static constexpr Grads grads = Grads::now;

        template <class At>
        static void step(At at) {
            const Vec r = at.gate(0), drh = at.through();  // gradient of r * h
            at.dgate(0, drh * at.h_old() * d_sigmoid(r));
            at.carry_dh(at.carried_dh() + drh * r);
        }
    };
};

// The activation is the output: both passes read and write one array, `gates` being `outputs`.
template <bool rectified>
struct Rnn {
    static constexpr int gates = 1, blocks = 1, peeps = 0;

    struct Forward {
        static constexpr int first = 0, count = 1;
        static constexpr From from = From::h;

        template <class At>
        static void step(At at) {
            at.h(rectified ? relu(at.pre(0)) : tanh(at.pre(0)));
        }
    };

    struct Backward {
        static constexpr int first = 0, count = 1, block = 0;
        static constexpr Grads grads = Grads::next;

        template <class At>
        static void step(At at) {
            const Vec h = at.gate(0), dh = at.dh();
            at.dgate(0, rectified ? (h <= 0.0f ? Vec{} : dh) : dh * d_tanh(h));
            at.carry_dh(Vec{});
        }
    };
};

}  // namespace seqtrain
