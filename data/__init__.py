import os

# torch reads this when it is loaded, and every script loads something of data/ before: caches that
# grow by a token at a time would fragment the GPU's memory.
if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # its older name; two could contradict each other
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
