"""llama.cpp's C interface, of which xllamacpp's wheel exports all; only what is used here is declared.

The wheel is built on manylinux2014, where other wheels of the C interface ask for a newer C library than that of many
systems in use. Layouts of structures change from build to build, so the version has to be the one that was tested.

Source: ``include/llama.h`` of llama.cpp b11549.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError

VERSION = "2026.10.11549"
_INSTALL = "pip install 'alpha-umi[llamacpp]'"
_DECLARATIONS = """
typedef int32_t llama_pos;
typedef int32_t llama_token;
typedef int32_t llama_seq_id;
struct llama_model;
struct llama_context;
struct llama_adapter_lora;
typedef void * llama_memory_t;
typedef bool (*ggml_abort_callback)(void * data);
typedef void (*ggml_log_callback)(int level, const char * text, void * user_data);

struct llama_model_params {
    void * devices;
    const void * tensor_buft_overrides;
    int32_t n_gpu_layers;
    int split_mode;
    int load_mode;
    int lazy_mode;
    int32_t main_gpu;
    const float * tensor_split;
    void * progress_callback;
    void * progress_callback_user_data;
    const void * kv_overrides;
    bool vocab_only;
    bool check_tensors;
    bool use_extra_bufts;
    bool no_host;
    bool no_alloc;
    bool load_mtp;
};

struct llama_context_params {
    uint32_t n_ctx;
    uint32_t n_batch;
    uint32_t n_ubatch;
    uint32_t n_seq_max;
    uint32_t n_rs_seq;
    uint32_t n_outputs_max;
    uint32_t n_outputs_max_per_seq;
    int32_t  n_threads;
    int32_t  n_threads_batch;
    int ctx_type;
    int rope_scaling_type;
    int pooling_type;
    int attention_type;
    int flash_attn_type;
    float    rope_freq_base;
    float    rope_freq_scale;
    float    yarn_ext_factor;
    float    yarn_attn_factor;
    float    yarn_beta_fast;
    float    yarn_beta_slow;
    uint32_t yarn_orig_ctx;
    float    defrag_thold;
    void * cb_eval;
    void * cb_eval_user_data;
    int type_k;
    int type_v;
    size_t moe_cache_size;
    ggml_abort_callback abort_callback;
    void * abort_callback_data;
    bool embeddings;
    bool offload_kqv;
    bool no_perf;
    bool op_offload;
    bool swa_full;
    bool kv_unified;
    void * samplers;
    size_t n_samplers;
    struct llama_context * ctx_other;
};

typedef struct llama_batch {
    int32_t n_tokens;
    llama_token * token;
    float * embd;
    llama_pos * pos;
    int32_t * n_seq_id;
    llama_seq_id ** seq_id;
    int8_t * logits;
} llama_batch;

int ggml_cpu_has_avx(void);
void llama_log_set(ggml_log_callback log_callback, void * user_data);
void llama_backend_init(void);
struct llama_model_params llama_model_default_params(void);
struct llama_context_params llama_context_default_params(void);
struct llama_model * llama_model_load_from_file(const char * path_model, struct llama_model_params params);
void llama_model_free(struct llama_model * model);
struct llama_context * llama_init_from_model(struct llama_model * model, struct llama_context_params params);
void llama_free(struct llama_context * ctx);
llama_memory_t llama_get_memory(const struct llama_context * ctx);
bool llama_memory_seq_rm(llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1);
void llama_memory_seq_cp(llama_memory_t mem, llama_seq_id src, llama_seq_id dst, llama_pos p0, llama_pos p1);
size_t llama_state_seq_get_size(struct llama_context * ctx, llama_seq_id seq_id);
size_t llama_state_seq_get_data(struct llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq_id);
size_t llama_state_seq_set_data(struct llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id dest_seq_id);
struct llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max);
void llama_batch_free(struct llama_batch batch);
int32_t llama_decode(struct llama_context * ctx, struct llama_batch batch);
float * llama_get_logits_ith(struct llama_context * ctx, int32_t i);
struct llama_adapter_lora * llama_adapter_lora_init(struct llama_model * model, const char * path_lora);
void llama_adapter_lora_free(struct llama_adapter_lora * adapter);
int32_t llama_set_adapters_lora(
    struct llama_context * ctx, struct llama_adapter_lora ** adapters, size_t n_adapters, float * scales);
"""


def is_installed() -> bool:
    """Tell whether the tested version of llama.cpp is here."""
    try:
        return version("xllamacpp") == VERSION and find_spec("cffi") is not None and find_spec("gguf") is not None
    except PackageNotFoundError:
        return False


@cache
def load_library() -> tuple[Any, Any]:
    """Return cffi's interface and the library, which stays loaded.

    Raises:
        ConfigError: If it is not installed, or is not the version that was tested.
    """
    if not is_installed():
        raise ConfigError(f"llama.cpp needs xllamacpp {VERSION}, cffi and gguf: {_INSTALL}.")
    from cffi import FFI  # type: ignore[import-untyped]  # noqa: PLC0415 - optional

    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    (path,) = [path for path in Path(spec.origin).parent.glob("xllamacpp*") if path.suffix in (".so", ".pyd", ".dylib")]
    ffi = FFI()
    ffi.cdef(_DECLARATIONS)
    library = ffi.dlopen(str(path))
    _silence(ffi, library)
    library.llama_backend_init()
    defaults = library.llama_context_default_params()
    if (defaults.n_ctx, defaults.n_batch, defaults.kv_unified, defaults.n_samplers) != (512, 2048, False, 0):
        raise ConfigError(f"The xllamacpp that is installed has another interface than {VERSION}; run {_INSTALL}.")
    return ffi, library


def own(pointer: Any, free: str, *needed: Any) -> Any:
    """Return a pointer that is freed with the last reference to it, before what it needs is.

    Args:
        pointer: To what llama.cpp has made.
        free: The function that frees it.
        needed: Other pointers that have to be whole until then.
    """
    ffi, library = load_library()
    return ffi.gc(pointer, partial(_free, library, free, needed))


def _free(library: Any, free: str, needed: tuple[Any, ...], pointer: Any) -> None:
    getattr(library, free)(pointer)


def _silence(ffi: Any, library: Any) -> None:
    """Keep llama.cpp from telling on standard error what it does.

    It also tells of what it frees when the interpreter ends, so the callback must not be Python's: it is a function of
    its own that only returns a number.
    """
    library.llama_log_set(ffi.cast("ggml_log_callback", ffi.addressof(library, "ggml_cpu_has_avx")), ffi.NULL)
