"""What the numbers in plan.bin stand for (`docs/package-format.md`). The manifest uses the words."""

ARCHES = {1: "x86_64", 2: "aarch64"}
BLOBS = {1: "kernels.so", 2: "params.bin"}
ROLES = {1: "input", 2: "output"}
PLACES = {1: "arena", 2: "params", 3: "input", 4: "output", 5: "scratch"}
ACCESSES = {1: "read", 2: "write", 3: "both"}
TASKS = {1: "detect", 2: "classify"}
COLORS = {1: "rgb", 2: "bgr", 3: "gray"}
RESIZES = {1: "letterbox", 2: "stretch"}
DECODES = {0: "none", 1: "grid_ltrb_exp", 2: "yolo", 3: "boxes_scores"}
SCORES = {0: "none", 1: "sigmoid", 2: "softmax"}
DTYPES = {
    1: "float32", 2: "float16", 3: "bfloat16", 4: "int8", 5: "uint8", 6: "int16", 7: "uint16",
    8: "int32", 9: "uint32", 10: "int64", 11: "uint64", 12: "float64", 13: "bool",
}  # fmt: skip
MAX_RANK = 8
