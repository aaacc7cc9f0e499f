"""The equations of one time step on a GPU, forward and backward, in Triton. Only `launches` imports this module.

Each kernel computes what follows a product with the recurrent weights, unit by unit; the products are torch's. All
numbers are computed in the type of the states. Two kernels serve all kinds of LSTM, whose differences are known when a
kernel is compiled; four serve the GRU with `reset: before`.

The arrays of the whole sequence, of which a kernel reads and writes step t:

    x_gates, gates, d_gates   [T, B, G*H]     what `project` gave; the activations; the gradients of the sums
    states, low               [T+1, B, W*H]   what w_h multiplies: h, and W is 1; or h, i, f, o, and W is 4;
                                              `low` is a copy in the type of the products
    cells                     [T+1, B, H]
    aside                     [T, B, H]       GRU: r * h
    product, d_product, carry, d_cells        of the present step alone

Place t+1 of the states and cells is after step t, place t before it; in a reversed pass the other way round. In a row
where step t is padding, the state stays as it is and no gradient arises.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Tanh without overflow; Triton's own does not run in its interpreter."""
    small = tl.exp(-2.0 * tl.abs(x))
    return tl.where(x < 0, small - 1, 1 - small) / (1 + small)


@triton.jit
def sigmoid(x):
    """Sigmoid without overflow."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1.0) / (1 + small)


@triton.jit
def squashed(x_gates, product, gates, p, seen, place, H, h, mask, GATE: tl.constexpr, ROW: tl.constexpr):
    """The values of a gate, which are also kept in `gates`; `seen` is the cell that its peephole sees."""
    x = tl.load(x_gates + place + GATE * H, mask=mask).to(seen.dtype)
    x += tl.load(product + place + GATE * H, mask=mask)
    if ROW >= 0:
        x += tl.load(p + ROW * H + h, mask=mask) * seen
    x = sigmoid(x)
    tl.store(gates + place + GATE * H, x, mask=mask)
    return x


@triton.jit
def unsquashed(d_gate, gate, d_gates, place, H, inside, mask, GATE: tl.constexpr):
    """The gradient of what a gate squashes, which is also kept in `d_gates`; zero where there is no step."""
    d_gate = tl.where(inside, d_gate * gate * (1 - gate), 0.0)
    tl.store(d_gates + place + GATE * H, d_gate, mask=mask)
    return d_gate


@triton.jit
def is_inside(lengths, step, b, mask, HAS_LENGTHS: tl.constexpr):
    """Whether the step is no padding, for each unit."""
    inside = mask
    if HAS_LENGTHS:
        inside = mask & (step < tl.load(lengths + b, mask=mask, other=0))
    return inside


@triton.jit(do_not_specialize=["t"])
def lstm_forward(
    x_gates,
    product,
    gates,
    states,
    low,
    cells,
    p,
    lengths,
    t,
    B,
    H,
    G: tl.constexpr,  # how many blocks of gates
    I: tl.constexpr,  # the block of each gate, -1 without
    F: tl.constexpr,
    C: tl.constexpr,  # of the candidate
    O: tl.constexpr,
    P_I: tl.constexpr,  # the row of each peephole, -1 without
    P_F: tl.constexpr,
    P_O: tl.constexpr,
    COUPLED: tl.constexpr,  # i is 1 - f
    SQUASH_INPUT: tl.constexpr,
    SQUASH_OUTPUT: tl.constexpr,
    W: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    HAS_LOW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """All kinds of LSTM:

    i, f = sigmoid(sums + p * c)      c' = f * c + i * g      o = sigmoid(sum + p_o * c')      h' = o * tanh(c')
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    before, after = step + REVERSE, step + 1 - REVERSE
    x_gates += step * B * G * H
    gates += step * B * G * H
    place = b * G * H + h
    c = tl.load(cells + before * B * H + n, mask=mask)
    inside = is_inside(lengths, step, b, mask, HAS_LENGTHS)

    f = c * 0 + 1
    i = f
    o = f
    if F >= 0:
        f = squashed(x_gates, product, gates, p, c, place, H, h, mask, F, P_F)
    if COUPLED:
        i = 1 - f
    if I >= 0:
        i = squashed(x_gates, product, gates, p, c, place, H, h, mask, I, P_I)
    g = tl.load(x_gates + place + C * H, mask=mask).to(c.dtype) + tl.load(product + place + C * H, mask=mask)
    if SQUASH_INPUT:
        g = tanh(g)
    tl.store(gates + place + C * H, g, mask=mask)
    new = f * c + i * g
    if O >= 0:
        o = squashed(x_gates, product, gates, p, new, place, H, h, mask, O, P_O)
    out = new
    if SQUASH_OUTPUT:
        out = tanh(new)

    tl.store(cells + after * B * H + n, tl.where(inside, new, c), mask=mask)
    own = b * W * H + h
    for part in tl.static_range(W):
        value = o * out
        if part == 1:
            value = i
        if part == 2:
            value = f
        if part == 3:
            value = o
        at = own + part * H
        if HAS_LENGTHS:
            value = tl.where(inside, value, tl.load(states + before * B * W * H + at, mask=mask))
        tl.store(states + after * B * W * H + at, value, mask=mask)
        if HAS_LOW:
            tl.store(low + after * B * W * H + at, value, mask=mask)


@triton.jit(do_not_specialize=["t"])
def lstm_backward(
    d_outputs,
    d_product,
    carry,
    d_cells,
    d_gates,
    gates,
    cells,
    p,
    lengths,
    t,
    B,
    H,
    G: tl.constexpr,
    I: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
    O: tl.constexpr,
    P_I: tl.constexpr,
    P_F: tl.constexpr,
    P_O: tl.constexpr,
    COUPLED: tl.constexpr,
    SQUASH_INPUT: tl.constexpr,
    SQUASH_OUTPUT: tl.constexpr,
    W: tl.constexpr,
    REVERSE: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradients of the sums, of the old cell (in `d_cells`), and of the old state but for its product with w_h."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    before, after = step + REVERSE, step + 1 - REVERSE
    gates += step * B * G * H
    d_gates += step * B * G * H
    place, own = b * G * H + h, b * W * H + h
    old = tl.load(cells + before * B * H + n, mask=mask)
    new = tl.load(cells + after * B * H + n, mask=mask)
    inside = is_inside(lengths, step, b, mask, HAS_LENGTHS)

    f = old * 0 + 1
    i = f
    o = f
    if F >= 0:
        f = tl.load(gates + place + F * H, mask=mask).to(old.dtype)
    if COUPLED:
        i = 1 - f
    if I >= 0:
        i = tl.load(gates + place + I * H, mask=mask).to(old.dtype)
    if O >= 0:
        o = tl.load(gates + place + O * H, mask=mask).to(old.dtype)
    g = tl.load(gates + place + C * H, mask=mask).to(old.dtype)
    out = new
    slope = old * 0 + 1
    if SQUASH_OUTPUT:
        out = tanh(new)
        slope = 1 - out * out

    stays = tl.load(carry + own, mask=mask) + tl.load(d_product + own, mask=mask)
    d_h = stays + tl.load(d_outputs + step * B * H + n, mask=mask)
    d_i = old * 0
    d_f = d_i
    d_o = d_h * out
    for part in tl.static_range(W):
        kept = stays
        if part > 0:
            kept = tl.load(carry + own + part * H, mask=mask) + tl.load(d_product + own + part * H, mask=mask)
        if part == 1:
            d_i = kept
        if part == 2:
            d_f = kept
        if part == 3:
            d_o += kept
        tl.store(carry + own + part * H, tl.where(inside, 0.0, kept), mask=mask)

    d_last = tl.load(d_cells + n, mask=mask)
    d_c = d_last + d_h * o * slope
    if O >= 0:
        d_o = unsquashed(d_o, o, d_gates, place, H, inside, mask, O)
        if P_O >= 0:
            d_c += d_o * tl.load(p + P_O * H + h, mask=mask)
    d_i += d_c * g
    d_f += d_c * old
    d_old = d_c * f
    if COUPLED:
        d_f -= d_i
    if I >= 0:
        d_i = unsquashed(d_i, i, d_gates, place, H, inside, mask, I)
        if P_I >= 0:
            d_old += d_i * tl.load(p + P_I * H + h, mask=mask)
    if F >= 0:
        d_f = unsquashed(d_f, f, d_gates, place, H, inside, mask, F)
        if P_F >= 0:
            d_old += d_f * tl.load(p + P_F * H + h, mask=mask)
    d_g = d_c * i
    if SQUASH_INPUT:
        d_g *= 1 - g * g
    tl.store(d_gates + place + C * H, tl.where(inside, d_g, 0.0), mask=mask)
    tl.store(d_cells + n, tl.where(inside, d_old, d_last), mask=mask)


@triton.jit(do_not_specialize=["t"])
def gru_reset(x_gates, product, gates, states, aside, t, B, H, REVERSE: tl.constexpr, BLOCK: tl.constexpr):
    """r, z = sigmoid(sums), and r * h, which the weights of the candidate multiply."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    old = tl.load(states + (step + REVERSE) * B * H + n, mask=mask)
    place = step * B * 3 * H + b * 3 * H + h
    r = tl.load(x_gates + place, mask=mask).to(old.dtype) + tl.load(product + b * 2 * H + h, mask=mask)
    z = tl.load(x_gates + place + H, mask=mask).to(old.dtype) + tl.load(product + b * 2 * H + H + h, mask=mask)
    r = sigmoid(r)
    tl.store(gates + place, r, mask=mask)
    tl.store(gates + place + H, sigmoid(z), mask=mask)
    tl.store(aside + step * B * H + n, r * old, mask=mask)


@triton.jit(do_not_specialize=["t"])
def gru_update(
    x_gates,
    product,
    gates,
    states,
    low,
    lengths,
    t,
    B,
    H,
    REVERSE: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    HAS_LOW: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """n = tanh(sum), h' = (1 - z) * n + z * h."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    before, after = step + REVERSE, step + 1 - REVERSE
    old = tl.load(states + before * B * H + n, mask=mask)
    place = step * B * 3 * H + b * 3 * H + h
    z = tl.load(gates + place + H, mask=mask).to(old.dtype)
    new = tanh(tl.load(x_gates + place + 2 * H, mask=mask).to(old.dtype) + tl.load(product + n, mask=mask))
    tl.store(gates + place + 2 * H, new, mask=mask)
    new += z * (old - new)
    new = tl.where(is_inside(lengths, step, b, mask, HAS_LENGTHS), new, old)
    tl.store(states + after * B * H + n, new, mask=mask)
    if HAS_LOW:
        tl.store(low + after * B * H + n, new, mask=mask)


@triton.jit(do_not_specialize=["t"])
def gru_update_backward(
    d_outputs,
    d_product,
    carry,
    d_gates,
    gates,
    states,
    lengths,
    t,
    B,
    H,
    REVERSE: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradients of the sums of n and z, and of the old state but for its products."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    old = tl.load(states + (step + REVERSE) * B * H + n, mask=mask)
    inside = is_inside(lengths, step, b, mask, HAS_LENGTHS)
    place = step * B * 3 * H + b * 3 * H + h
    z = tl.load(gates + place + H, mask=mask).to(old.dtype)
    new = tl.load(gates + place + 2 * H, mask=mask).to(old.dtype)
    kept = tl.load(carry + n, mask=mask) + tl.load(d_product + n, mask=mask)
    d_h = kept + tl.load(d_outputs + step * B * H + n, mask=mask)
    unsquashed(d_h * (old - new), z, d_gates, place, H, inside, mask, 1)
    tl.store(d_gates + place + 2 * H, tl.where(inside, d_h * (1 - z) * (1 - new * new), 0.0), mask=mask)
    tl.store(carry + n, tl.where(inside, d_h * z, kept), mask=mask)


@triton.jit(do_not_specialize=["t"])
def gru_reset_backward(d_aside, carry, d_gates, gates, states, t, B, H, REVERSE: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of the sum of r, and that of the old state through r * h. `d_aside` is zero on padding."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = n < B * H
    b, h = n // H, n % H
    step = tl.cast(t, tl.int64)
    old = tl.load(states + (step + REVERSE) * B * H + n, mask=mask)
    place = step * B * 3 * H + b * 3 * H + h
    r = tl.load(gates + place, mask=mask).to(old.dtype)
    d_rh = tl.load(d_aside + n, mask=mask)
    unsquashed(d_rh * old, r, d_gates, place, H, mask, mask, 0)
    tl.store(carry + n, tl.load(carry + n, mask=mask) + d_rh * r, mask=mask)
