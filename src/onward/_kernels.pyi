def int8_linear(x: int, weight: int, scale: int, bias: int, out: int, n_rows: int, n_in: int, n_out: int) -> None: ...
def attention(
    q: int,
    q_strides: tuple[int, ...],
    k: int,
    k_strides: tuple[int, ...],
    v: int,
    v_strides: tuple[int, ...],
    z: int,
    z_strides: tuple[int, ...],
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
