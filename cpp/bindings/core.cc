// Python module sanderling.runtime._core: the C API with Python's types, and nothing more. Names,
// shapes and dtypes are checked in runtime/tensors.py, where errors can name them; here only what
// memory safety needs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "sanderling/sanderling.h"

namespace py = pybind11;

// Python's headers may be those of the building machine; they fit if its types have the same sizes.
static_assert(SIZEOF_VOID_P == sizeof(void*) && SIZEOF_SIZE_T == sizeof(size_t) &&
                  SIZEOF_INT == sizeof(int) && SIZEOF_LONG == sizeof(long) &&
                  SIZEOF_WCHAR_T == sizeof(wchar_t) && SIZEOF_TIME_T == sizeof(time_t),
              "Python's headers are those of another kind of machine");

namespace {

// As many as ever enter non-maximum suppression.
constexpr size_t kMaxDetections = 1024;

struct Failure {
  sd_status status;
  std::string message;
};

// Becomes the class of sanderling.runtime.errors that fits the status.
void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Failure& failure) {
    const py::object error =
        py::module_::import("sanderling.runtime.errors")
            .attr("of_status")(static_cast<int>(failure.status),
                               py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
                                   failure.message.data(),
                                   static_cast<Py_ssize_t>(failure.message.size()), "replace")));
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  }
}

[[noreturn]] void fail(sd_status status, const char* message) { throw Failure{status, message}; }

// Calls a C function, without the GIL, and throws what it reports.
template <typename Function, typename... Args>
void call(Function function, Args... args) {
  sd_error error{};
  sd_status status;
  {
    const py::gil_scoped_release release;
    status = function(args..., &error);
  }
  if (status != SD_OK) throw Failure{status, error.message};
}

class Package {
 public:
  explicit Package(const std::string& path) { call(sd_package_open, path.c_str(), &package_); }
  explicit Package(int fd) { call(sd_package_open_fd, fd, &package_); }
  Package(const Package&) = delete;
  Package& operator=(const Package&) = delete;
  ~Package() { close(); }

  void close() {
    if (package_ != nullptr) sd_package_close(package_);
    package_ = nullptr;
  }

  const sd_package* get() const {
    if (package_ == nullptr) fail(SD_INVALID_ARGUMENT, "the package is closed");
    return package_;
  }

  // Name → size.
  py::dict entries() const {
    const sd_package* const package = get();
    py::dict result;
    for (size_t i = 0; i < sd_package_entry_count(package); ++i) {
      sd_entry_info info{};
      call(sd_package_entry, package, i, &info);
      result[py::str(info.name)] = info.size;
    }
    return result;
  }

  py::bytes read(const std::string& name) const {
    const void* data = nullptr;
    uint64_t size = 0;
    call(sd_package_read, get(), name.c_str(), &data, &size);
    return {static_cast<const char*>(data), static_cast<size_t>(size)};
  }

  void verify() const { call(sd_package_verify, get()); }

 private:
  sd_package* package_ = nullptr;
};

// (name, sd_dtype, shape, the dimension that is only an upper bound or -1)
py::tuple describe(const sd_tensor_info& info) {
  py::tuple shape(info.rank);
  for (int32_t i = 0; i < info.rank; ++i) shape[static_cast<size_t>(i)] = info.dims[i];
  return py::make_tuple(info.name, static_cast<int>(info.dtype), shape, info.bounded);
}

// A loaded variant with its own arena on the process's pool: what one Model needs.
class Session {
 public:
  // Digests of params.bin are Package.verify()'s work.
  Session(const Package& package, const std::optional<std::string>& variant, int32_t threads)
      : pid_(getpid()) {
    try {
      call(sd_model_load, package.get(), variant ? variant->c_str() : nullptr, SD_VERIFY_FAST,
           &model_);
      call(sd_pool_shared, threads, &pool_);
      call(sd_session_create, model_, pool_, &session_);
      collect(sd_model_input_count(model_), sd_model_input, &inputs_);
      collect(sd_model_output_count(model_), sd_model_output, &outputs_);
    } catch (...) {
      close();
      throw;
    }
    in_.resize(inputs_.size());
    out_.resize(outputs_.size());
    detections_.resize(sd_model_has_pipeline(model_) != 0 ? kMaxDetections : 0);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { close(); }

  void close() {
    // In a forked child the pool's threads do not exist, so waiting for them would never end: leave
    // all to the exit.
    if (getpid() == pid_) {
      if (session_ != nullptr) sd_session_destroy(session_);
      if (pool_ != nullptr) sd_pool_release(pool_);
      if (model_ != nullptr) sd_model_release(model_);
    }
    session_ = nullptr;
    pool_ = nullptr;
    model_ = nullptr;
  }

  void run(const py::list& inputs, const py::list& outputs) {
    sd_session* const session = prepare(inputs, outputs);
    call(sd_session_run, session, in_.data(), out_.data());
  }

  // Elements along the bounded dimension of an output, after a run.
  int64_t count(size_t index) {
    sd_session* const session = open();
    if (index >= outputs_.size() || outputs_[index].bounded < 0)
      fail(SD_INVALID_ARGUMENT, "no such bounded output");
    int64_t dims[8];
    call(sd_session_output_dims, session, index, dims);
    return dims[outputs_[index].bounded];
  }

  // Nanoseconds of each call.
  std::vector<uint64_t> profile(const py::list& inputs, const py::list& outputs) {
    sd_session* const session = prepare(inputs, outputs);
    std::vector<uint64_t> nanoseconds(sd_model_call_count(model_));
    call(sd_session_profile, session, in_.data(), out_.data(), nanoseconds.data());
    return nanoseconds;
  }

  void preprocess(const py::array& frame, size_t index, py::array input) {
    sd_session* const session = open();
    check_frame(frame);
    if (index >= inputs_.size()) fail(SD_INVALID_ARGUMENT, "no such input");
    void* const target = writable(input, inputs_[index]);
    call(sd_session_preprocess, session, pixels(frame), rows(frame), columns(frame), stride(frame),
         target);
  }

  // Rows of (x1, y1, x2, y2, score, label).
  py::list detect(const py::array& frame, float threshold) {
    sd_session* const session = open();
    check_frame(frame);
    size_t count = 0;
    call(sd_session_detect, session, pixels(frame), rows(frame), columns(frame), stride(frame),
         threshold, detections_.data(), detections_.size(), &count);
    return rows_of(count);
  }

  py::list decode(const py::list& outputs, int32_t height, int32_t width, float threshold) {
    sd_session* const session = open();
    check_count(outputs, outputs_);
    std::vector<const void*> pointers;
    for (size_t i = 0; i < outputs_.size(); ++i)
      pointers.push_back(readable(outputs[i], outputs_[i]));
    size_t count = 0;
    call(sd_session_decode, session, pointers.data(), height, width, threshold, detections_.data(),
         detections_.size(), &count);
    return rows_of(count);
  }

  std::string variant() {
    open();
    return sd_model_variant(model_);
  }
  py::list inputs() {
    open();
    return describe_all(inputs_);
  }
  py::list outputs() {
    open();
    return describe_all(outputs_);
  }

  // (node, kind, floating-point operations) of each call.
  py::list calls() {
    open();
    py::list result;
    for (size_t i = 0; i < sd_model_call_count(model_); ++i) {
      sd_call_info info{};
      call(sd_model_call, model_, i, &info);
      result.append(py::make_tuple(info.node, info.kind, info.flops));
    }
    return result;
  }

 private:
  using Infos = std::vector<sd_tensor_info>;

  template <typename Get>
  void collect(size_t count, Get get, Infos* infos) {
    infos->resize(count);
    for (size_t i = 0; i < count; ++i) call(get, model_, i, &(*infos)[i]);
  }

  static py::list describe_all(const Infos& infos) {
    py::list result;
    for (const sd_tensor_info& info : infos) result.append(describe(info));
    return result;
  }

  sd_session* open() const {
    if (session_ == nullptr) fail(SD_INVALID_ARGUMENT, "the model is closed");
    if (getpid() != pid_) {
      fail(SD_INVALID_ARGUMENT,
           "the model was loaded before this process was forked; load it in the child instead");
    }
    return session_;
  }

  static void check_count(const py::list& arrays, const Infos& infos) {
    if (arrays.size() != infos.size()) fail(SD_BAD_TENSOR, "wrong number of arrays");
  }

  static void check_array(const py::handle& object, const sd_tensor_info& info) {
    if (!py::isinstance<py::array>(object)) fail(SD_BAD_TENSOR, "not a numpy array");
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (static_cast<uint64_t>(array.nbytes()) != info.bytes ||
        (array.flags() & py::array::c_style) == 0) {
      fail(SD_BAD_TENSOR, "an array is not contiguous or has the wrong size");
    }
  }

  static const void* readable(const py::handle& object, const sd_tensor_info& info) {
    check_array(object, info);
    return py::reinterpret_borrow<py::array>(object).data();
  }

  static void* writable(const py::handle& object, const sd_tensor_info& info) {
    check_array(object, info);
    auto array = py::reinterpret_borrow<py::array>(object);
    if (!array.writeable()) fail(SD_BAD_TENSOR, "an output array is read-only");
    return array.mutable_data();
  }

  sd_session* prepare(const py::list& inputs, const py::list& outputs) {
    sd_session* const session = open();
    check_count(inputs, inputs_);
    check_count(outputs, outputs_);
    for (size_t i = 0; i < inputs_.size(); ++i) in_[i] = readable(inputs[i], inputs_[i]);
    for (size_t i = 0; i < outputs_.size(); ++i) out_[i] = writable(outputs[i], outputs_[i]);
    return session;
  }

  static void check_frame(const py::array& frame) {
    if (frame.ndim() != 3 || frame.itemsize() != 1 || frame.shape(2) != 3 ||
        frame.strides(2) != 1 || frame.strides(1) != 3) {
      fail(SD_BAD_TENSOR, "a frame is height x width x 3 bytes with contiguous rows");
    }
    if (frame.shape(0) > INT32_MAX || frame.shape(1) > INT32_MAX)
      fail(SD_BAD_TENSOR, "the frame is too large");
  }
  static const uint8_t* pixels(const py::array& frame) {
    return static_cast<const uint8_t*>(frame.data());
  }
  static int32_t rows(const py::array& frame) { return static_cast<int32_t>(frame.shape(0)); }
  static int32_t columns(const py::array& frame) { return static_cast<int32_t>(frame.shape(1)); }
  static int64_t stride(const py::array& frame) { return frame.strides(0); }

  py::list rows_of(size_t count) const {
    py::list result;
    for (size_t i = 0; i < count; ++i) {
      const sd_detection& d = detections_[i];
      result.append(py::make_tuple(d.x1, d.y1, d.x2, d.y2, d.score, d.label));
    }
    return result;
  }

  const pid_t pid_;
  sd_model* model_ = nullptr;
  sd_pool* pool_ = nullptr;
  sd_session* session_ = nullptr;
  Infos inputs_, outputs_;
  // Used by one run at a time: a Model holds its lock meanwhile.
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<sd_detection> detections_;
};

// The first output whose memory another output or an input uses, too, or −1.
int first_overlap(const std::vector<py::array>& inputs, const std::vector<py::array>& outputs) {
  const auto meet = [](const py::array& a, const py::array& b) {
    const auto from = reinterpret_cast<uintptr_t>(a.data());
    const auto other = reinterpret_cast<uintptr_t>(b.data());
    return from < other + static_cast<size_t>(b.nbytes()) &&
           other < from + static_cast<size_t>(a.nbytes());
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    for (const py::array& input : inputs) {
      if (meet(outputs[i], input)) return static_cast<int>(i);
    }
    for (size_t j = 0; j < i; ++j) {
      if (meet(outputs[i], outputs[j])) return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::register_local_exception_translator(translate);
  module.def("version", &sd_version);
  module.def("first_overlap", &first_overlap);

  py::class_<Package>(module, "Package")
      .def(py::init<int>())
      .def(py::init<const std::string&>())
      .def("close", &Package::close)
      .def("entries", &Package::entries)
      .def("read", &Package::read)
      .def("verify", &Package::verify);

  py::class_<Session>(module, "Session")
      .def(py::init<const Package&, const std::optional<std::string>&, int32_t>())
      .def("close", &Session::close)
      .def("run", &Session::run)
      .def("count", &Session::count)
      .def("profile", &Session::profile)
      .def("preprocess", &Session::preprocess)
      .def("detect", &Session::detect)
      .def("decode", &Session::decode)
      .def("calls", &Session::calls)
      .def("variant", &Session::variant)
      .def("inputs", &Session::inputs)
      .def("outputs", &Session::outputs);
}
