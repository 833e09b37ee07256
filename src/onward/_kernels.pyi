_Heads = tuple[int, tuple[int, ...]]  # address and strides

def int8_linear(x: int, weight: int, scale: int, bias: int, out: int, n_rows: int, n_in: int, n_out: int) -> None: ...
def attention(
    q: _Heads,
    k: _Heads,
    v: _Heads,
    z: _Heads,
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
