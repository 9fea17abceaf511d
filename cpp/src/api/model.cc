#include "api/handles.h"
#include "os/cpu.h"

namespace sanderling {
namespace {

Result<Variant> named_variant(const sd_package& package, const char* name) {
  for (const ZipEntry& entry : package.zip.entries()) {
    int length = 0;
    const char* here = variant_name(entry, &length);
    if (here != nullptr && std::strlen(name) == size_t(length) &&
        std::memcmp(here, name, size_t(length)) == 0) {
      return read_variant(package, entry);
    }
  }
  return Status::error(SD_NOT_FOUND, "the package has no variant '%s'", name);
}

// The one with most required features among those that this CPU can run.
Result<Variant> best_variant(const sd_package& package) {
  Result<Variant> best = Status::error(
      SD_NOT_FOUND,
      "the package has no compiled variant, only the ONNX form: use the onnxruntime backend");
  for (const ZipEntry& entry : package.zip.entries()) {
    int length = 0;
    if (variant_name(entry, &length) == nullptr) continue;
    Result<Variant> here = read_variant(package, entry);
    if (!here.ok()) return here;
    const Status runs = check_target(here->plan, this_cpu());
    if (!runs.ok()) {
      if (!best.ok()) best = runs;
    } else if (!best.ok() ||
               here->plan.target().feature_count > best->plan.target().feature_count) {
      best = std::move(here);
    }
  }
  return best;
}

Status find_kernels(const Plan& plan, const LoadedCode& code, Array<void*>* kernels) {
  Result<Array<void*>> found = Array<void*>::allocate(plan.kernels().count, "kernels");
  if (!found.ok()) return found.status();
  for (uint32_t i = 0; i < plan.kernels().count; ++i) {
    const char* symbol = plan.text(plan.kernels()[i]);
    found.value()[i] = code.find(symbol);
    if (found.value()[i] == nullptr)
      return Status::error(SD_BAD_PACKAGE, "kernels.so has no kernel '%s'", symbol);
  }
  *kernels = std::move(found.value());
  return {};
}

Result<Ref<sd_model>> load_model(const sd_package& package, const char* name, sd_verify verify) {
  Result<Variant> variant = name == nullptr ? best_variant(package) : named_variant(package, name);
  if (!variant.ok()) return variant.status();
  Ref<sd_model> model = Ref<sd_model>::create();
  if (!model) return out_of_memory(sizeof(sd_model), "model");
  model->file = package.file;
  model->plan = std::move(variant->plan);
  model->params = variant->params;
  const Plan& plan = model->plan;

  // Everything that can be refused is refused before any code is loaded.
  SD_TRY(check_target(plan, this_cpu()));
  if (verify == SD_VERIFY_FULL && sha256(model->params) != plan.params_blob().digest) {
    return Status::error(SD_DIGEST_MISMATCH, "params.bin: its SHA-256 is not the one in plan.bin");
  }
  Result<LoadedCode> code = LoadedCode::load(variant->kernels, plan.kernels_blob().digest,
                                             static_cast<Arch>(plan.target().arch));
  if (!code.ok()) return code.status().about("kernels.so");
  model->code = std::move(code.value());
  model->file->discard(variant->kernels);  // the loaded copy is what counts
  SD_TRY(find_kernels(plan, model->code, &model->kernels));
  return model;
}

sd_status tensor_info(const sd_model* model, uint32_t first, uint32_t count, size_t index,
                      sd_tensor_info* out, sd_error* error) {
  if (model == nullptr || out == nullptr) return report(null_argument("model or out"), error);
  if (index >= count)
    return report(Status::error(SD_INVALID_ARGUMENT, "tensor %zu does not exist", index), error);
  const TensorRecord& tensor = model->plan.tensors()[first + uint32_t(index)];
  *out = {model->plan.text(tensor.name),
          static_cast<sd_dtype>(tensor.dtype),
          int32_t(tensor.rank),
          {},
          tensor.bytes,
          int32_t(tensor.bounded) - 1};
  std::memcpy(out->dims, tensor.dims, sizeof(out->dims));
  return report({}, error);
}

}  // namespace
}  // namespace sanderling

using sanderling::Ref;
using sanderling::report;
using sanderling::Status;

extern "C" {

sd_status sd_model_load(const sd_package* package, const char* variant, sd_verify verify,
                        sd_model** out, sd_error* error) {
  if (package == nullptr || out == nullptr)
    return report(sanderling::null_argument("package or out"), error);
  sanderling::Result<Ref<sd_model>> model = sanderling::load_model(*package, variant, verify);
  *out = model.ok() ? model.value().release() : nullptr;
  return report(model.status(), error);
}

void sd_model_release(sd_model* model) { Ref<sd_model>::adopt(model); }

const char* sd_model_variant(const sd_model* model) {
  return model == nullptr ? "" : model->plan.text(model->plan.target().name);
}

size_t sd_model_input_count(const sd_model* model) {
  return model == nullptr ? 0 : model->plan.inputs();
}

size_t sd_model_output_count(const sd_model* model) {
  return model == nullptr ? 0 : model->plan.outputs();
}

sd_status sd_model_input(const sd_model* model, size_t index, sd_tensor_info* out,
                         sd_error* error) {
  return sanderling::tensor_info(model, 0, uint32_t(sd_model_input_count(model)), index, out,
                                 error);
}

sd_status sd_model_output(const sd_model* model, size_t index, sd_tensor_info* out,
                          sd_error* error) {
  return sanderling::tensor_info(model, uint32_t(sd_model_input_count(model)),
                                 uint32_t(sd_model_output_count(model)), index, out, error);
}

size_t sd_model_call_count(const sd_model* model) {
  return model == nullptr ? 0 : model->plan.calls().count;
}

sd_status sd_model_call(const sd_model* model, size_t index, sd_call_info* out, sd_error* error) {
  if (model == nullptr || out == nullptr)
    return report(sanderling::null_argument("model or out"), error);
  if (index >= model->plan.calls().count) {
    return report(Status::error(SD_INVALID_ARGUMENT, "call %zu does not exist", index), error);
  }
  const sanderling::CallRecord& call = model->plan.calls()[uint32_t(index)];
  *out = {model->plan.text(call.node), model->plan.text(call.kind), call.flops, call.tasks};
  return report({}, error);
}

uint64_t sd_model_arena_bytes(const sd_model* model) {
  return model == nullptr ? 0 : model->plan.header().arena_bytes;
}

int sd_model_has_pipeline(const sd_model* model) {
  return model != nullptr && model->plan.pipeline() != nullptr;
}

size_t sd_model_label_count(const sd_model* model) {
  return model == nullptr ? 0 : model->plan.labels().count;
}

const char* sd_model_label(const sd_model* model, size_t index) {
  return index >= sd_model_label_count(model)
             ? nullptr
             : model->plan.text(model->plan.labels()[uint32_t(index)]);
}

}  // extern "C"
