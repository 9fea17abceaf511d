/* Sanderling runtime, C API.
 *
 * A package is opened from a path or a file descriptor, one of its variants is loaded as a model
 * (immutable, shared by any number of sessions and threads), and a session runs it (its own arena;
 * one run at a time). Nothing here throws, prints, exits or aborts. Every call that can fail takes
 * an optional sd_error for the cause. */
#ifndef SANDERLING_SANDERLING_H_
#define SANDERLING_SANDERLING_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SD_API __attribute__((visibility("default")))
#else
#define SD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sd_status {
  SD_OK = 0,
  SD_INVALID_ARGUMENT = 1,   /* the caller passed something that cannot be meant */
  SD_NOT_FOUND = 2,          /* no such file, entry, variant, tensor */
  SD_BAD_PACKAGE = 3,        /* the file breaks the package format; nothing of it was used */
  SD_DIGEST_MISMATCH = 4,    /* bytes are not those that were signed or compiled */
  SD_UNSUPPORTED_TARGET = 5, /* compiled for another CPU; the message names both */
  SD_UNSUPPORTED_VERSION = 6,
  SD_OUT_OF_MEMORY = 7,
  SD_IO_ERROR = 8,
  SD_BAD_TENSOR =
      9, /* name, rank, shape, dtype or size of an input or output differs from the model's */
  SD_CANCELLED = 10,
  SD_INTERNAL = 11
} sd_status;

typedef struct sd_error {
  sd_status status;
  char message[512]; /* NUL-terminated, one line, names the cause */
} sd_error;

typedef enum sd_dtype {
  SD_FLOAT32 = 1,
  SD_FLOAT16 = 2,
  SD_BFLOAT16 = 3,
  SD_INT8 = 4,
  SD_UINT8 = 5,
  SD_INT16 = 6,
  SD_UINT16 = 7,
  SD_INT32 = 8,
  SD_UINT32 = 9,
  SD_INT64 = 10,
  SD_UINT64 = 11,
  SD_FLOAT64 = 12,
  SD_BOOL = 13
} sd_dtype;

typedef enum sd_verify {
  SD_VERIFY_FAST = 0, /* digests of plan and kernels */
  SD_VERIFY_FULL = 1  /* params too */
} sd_verify;

typedef struct sd_package sd_package;
typedef struct sd_pool sd_pool;
typedef struct sd_model sd_model;
typedef struct sd_session sd_session;

typedef struct sd_tensor_info {
  const char* name; /* owned by the model */
  sd_dtype dtype;
  int32_t rank;
  int64_t dims[8];
  uint64_t bytes;
  int32_t bounded; /* the dimension of which dims is only the most there can be, or -1 */
} sd_tensor_info;

typedef struct sd_entry_info {
  const char* name; /* owned by the package */
  uint64_t offset;  /* of the data, in the file */
  uint64_t size;
  uint32_t crc32;
} sd_entry_info;

typedef struct sd_call_info {
  const char* node; /* owned by the model */
  const char* kind; /* template and its parameters, for people */
  uint64_t flops;
  uint32_t tasks;
} sd_call_info;

typedef struct sd_detection {
  float x1, y1, x2, y2; /* pixels of the frame */
  float score;
  int32_t label;
} sd_detection;

SD_API const char* sd_version(void);
SD_API const char* sd_status_name(sd_status status);
SD_API const char* sd_cpu_features(void); /* space-separated, of this machine */

/* Packages: container only, nothing is executed. fd stays the caller's (it is duplicated). */
SD_API sd_status sd_package_open(const char* path, sd_package** out, sd_error* error);
SD_API sd_status sd_package_open_fd(int fd, sd_package** out, sd_error* error);
SD_API void sd_package_close(sd_package* package); /* models loaded from it stay valid */
SD_API size_t sd_package_entry_count(const sd_package* package);
SD_API sd_status sd_package_entry(const sd_package* package, size_t index, sd_entry_info* out,
                                  sd_error* error);
SD_API sd_status sd_package_read(const sd_package* package, const char* name, const void** data,
                                 uint64_t* size,
                                 sd_error* error); /* points into the mapping, valid until close */
/* Checks container, CRCs and, for each variant present, the whole plan and all its digests. Loads
 * no code. */
SD_API sd_status sd_package_verify(const sd_package* package, sd_error* error);

/* Thread pool: threads counts the caller, so 1 means no worker. One pool may serve many sessions,
 * also at the same time: their callers count as its threads. After a fork the child's runs are done
 * by their callers alone. */
SD_API sd_status sd_pool_create(int32_t threads, sd_pool** out, sd_error* error);
/* The process's pool of so many threads: the same for all that ask while somebody has it. */
SD_API sd_status sd_pool_shared(int32_t threads, sd_pool** out, sd_error* error);
SD_API void sd_pool_release(sd_pool* pool); /* sessions keep it alive */
SD_API int32_t sd_pool_threads(const sd_pool* pool);

/* variant NULL: the best one present that this CPU can run (the one with most required features).
 */
SD_API sd_status sd_model_load(const sd_package* package, const char* variant, sd_verify verify,
                               sd_model** out, sd_error* error);
SD_API void sd_model_release(sd_model* model); /* sessions keep it alive */
SD_API const char* sd_model_variant(const sd_model* model);
SD_API size_t sd_model_input_count(const sd_model* model);
SD_API size_t sd_model_output_count(const sd_model* model);
SD_API sd_status sd_model_input(const sd_model* model, size_t index, sd_tensor_info* out,
                                sd_error* error);
SD_API sd_status sd_model_output(const sd_model* model, size_t index, sd_tensor_info* out,
                                 sd_error* error);
SD_API size_t sd_model_call_count(const sd_model* model);
SD_API sd_status sd_model_call(const sd_model* model, size_t index, sd_call_info* out,
                               sd_error* error);
SD_API uint64_t sd_model_arena_bytes(const sd_model* model);
SD_API int sd_model_has_pipeline(const sd_model* model);
SD_API size_t sd_model_label_count(const sd_model* model);
SD_API const char* sd_model_label(const sd_model* model, size_t index); /* NULL if out of range */

/* Allocates arena and scratch; nothing is allocated afterwards. */
SD_API sd_status sd_session_create(sd_model* model, sd_pool* pool, sd_session** out,
                                   sd_error* error);
SD_API void sd_session_destroy(sd_session* session);
/* inputs/outputs: one pointer per tensor in model order, any alignment, contiguous, not overlapping
 * each other. */
SD_API sd_status sd_session_run(sd_session* session, const void* const* inputs,
                                void* const* outputs, sd_error* error);
/* Shape of an output after the last run that ended well: dims has as many numbers as the output's
 * rank. Differs from sd_model_output's only along a bounded dimension. A run fills the array as if
 * it had all of the bounded shape; what is real comes first, the rest means nothing. */
SD_API sd_status sd_session_output_dims(sd_session* session, size_t index, int64_t* dims,
                                        sd_error* error);
/* As run; nanoseconds[i] is the wall time of call i (sd_model_call_count entries). */
SD_API sd_status sd_session_profile(sd_session* session, const void* const* inputs,
                                    void* const* outputs, uint64_t* nanoseconds, sd_error* error);
SD_API void sd_session_cancel(
    sd_session* session); /* from any thread: the run in progress ends with SD_CANCELLED */

/* Pipeline. Frame: HWC bytes, 3 channels RGB, row_stride in bytes. */
SD_API sd_status sd_session_preprocess(sd_session* session, const uint8_t* frame, int32_t height,
                                       int32_t width, int64_t row_stride, void* input,
                                       sd_error* error);
/* Whole pass: frame → preprocess → run → decode → NMS. Writes at most capacity detections, *count
 * of them, best first. */
SD_API sd_status sd_session_detect(sd_session* session, const uint8_t* frame, int32_t height,
                                   int32_t width, int64_t row_stride,
                                   float score_threshold /* < 0: the package's */,
                                   sd_detection* detections, size_t capacity, size_t* count,
                                   sd_error* error);
/* Outputs of a run → detections, for a frame of the given size. */
SD_API sd_status sd_session_decode(sd_session* session, const void* const* outputs, int32_t height,
                                   int32_t width, float score_threshold, sd_detection* detections,
                                   size_t capacity, size_t* count, sd_error* error);

#ifdef __cplusplus
}
#endif
#endif /* SANDERLING_SANDERLING_H_ */
