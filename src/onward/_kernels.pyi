_Heads = tuple[int, tuple[int, ...]]  # address and strides

def int8_linear(x: int, weight: int, scale: int, bias: int, out: int, n_rows: int, n_in: int, n_out: int) -> None: ...
def attention(
    q: _Heads,
    k: _Heads,
    v: _Heads,
    z: _Heads,
    log_sum: int,
    n_batch: int,
    n_heads: int,
    n_kv_heads: int,
    n_queries: int,
    n_keys: int,
    d_head: int,
    d_value: int,
    is_causal: bool,
) -> None: ...
def attention_gradient(
    q: _Heads,
    k: _Heads,
    v: _Heads,
    z: _Heads,
    z_gradient: _Heads,
    log_sum: int,
    q_gradient: _Heads,
    k_gradient: _Heads,
    v_gradient: _Heads,
    n_batch: int,
    n_heads: int,
    n_kv_heads: int,
    n_queries: int,
    n_keys: int,
    d_head: int,
    d_value: int,
    is_causal: bool,
) -> None: ...
def gelu(x: int, out: int, n: int) -> None: ...
def gelu_gradient(x: int, gradient: int, out: int, n: int) -> None: ...
def relu_squared(x: int, out: int, n: int) -> None: ...
def relu_squared_gradient(x: int, gradient: int, out: int, n: int) -> None: ...
def swiglu(gate: int, up: int, out: int, n: int) -> None: ...
def swiglu_gradient(gate: int, up: int, gradient: int, gate_gradient: int, up_gradient: int, n: int) -> None: ...
def rms_norm(x: int, out: int, scale: int, n: int, size: int, epsilon: float) -> None: ...
def rms_norm_gradient(out: int, scale: int, gradient: int, x_gradient: int, n: int, size: int) -> None: ...
def rotate(
    x: _Heads,
    out: _Heads,
    cos: int,
    sin: int,
    table_batch_stride: int,
    n_batch: int,
    n_heads: int,
    n_positions: int,
    d_head: int,
    backwards: bool,
) -> None: ...
