/* An external delegate for the tests. Its option `mode` says what it does:
 *   idle    takes no operator          take         takes every operator, and leaves their outputs as they are
 *   refuse  cannot be created          fail_prepare fails when it is to take operators
 *   fail_invoke  takes every operator, and fails when they run
 *   crash   takes every operator, and ends the process when they run
 *
 * The structures are the leading fields of those in tensorflow/lite/core/c/common.h, whose layout is a stable ABI; the
 * two functions at the end are those of tensorflow/lite/delegates/external/external_delegate.h.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum { OK = 0, ERROR = 1, DELEGATE_ERROR = 2 } Status;

typedef struct {
  int size;
  int data[];
} IntArray;

struct Context;
struct Node;
struct Delegate;

typedef struct {
  void *(*init)(struct Context *, const char *, size_t);
  void (*free)(struct Context *, void *);
  Status (*prepare)(struct Context *, struct Node *);
  Status (*invoke)(struct Context *, struct Node *);
  const char *(*profiling_string)(const struct Context *, const struct Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *newer[4]; /* what later versions have added */
} Registration;

struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(struct Context *, IntArray **);
  void *tensors;
  void *impl;
  Status (*ResizeTensor)(struct Context *, void *, IntArray *);
  void (*ReportError)(struct Context *, const char *, ...);
  Status (*AddTensors)(struct Context *, int, int *);
  Status (*GetNodeAndRegistration)(struct Context *, int, struct Node **, Registration **);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(struct Context *, Registration, const IntArray *, struct Delegate *);
};

struct Delegate {
  Status (*data)(struct Context *, struct Node *); /* what is done when operators run */
  Status (*Prepare)(struct Context *, struct Delegate *);
  Status (*CopyFromBufferHandle)(void);
  Status (*CopyToBufferHandle)(void);
  void (*FreeBufferHandle)(void);
  int64_t flags;
  void *opaque_delegate_builder;
  void *newer[4];
};

static Status prepare_node(struct Context *context, struct Node *node) {
  (void)context, (void)node;
  return OK;
}

static Status invoke_nothing(struct Context *context, struct Node *node) {
  (void)context, (void)node;
  return OK;
}

static Status invoke_and_fail(struct Context *context, struct Node *node) {
  (void)node;
  context->ReportError(context, "the test delegate fails");
  return ERROR;
}

static Status invoke_and_crash(struct Context *context, struct Node *node) {
  (void)context, (void)node;
  raise(SIGSEGV);
  return ERROR;
}

static Status take_nothing(struct Context *context, struct Delegate *delegate) {
  (void)context, (void)delegate;
  return OK;
}

static Status fail_to_prepare(struct Context *context, struct Delegate *delegate) {
  (void)delegate;
  context->ReportError(context, "the test delegate cannot prepare");
  return DELEGATE_ERROR;
}

static Status take_all(struct Context *context, struct Delegate *delegate) {
  IntArray *plan;
  if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
  Registration kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.prepare = prepare_node;
  kernel.invoke = delegate->data;
  kernel.custom_name = "TestDelegate";
  kernel.version = 1;
  return context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, plan, delegate);
}

struct Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  const char *mode = "idle";
  for (size_t number = 0; number < count; number++)
    if (strcmp(keys[number], "mode") == 0) mode = values[number];
  if (strcmp(mode, "refuse") == 0) {
    report("the test delegate refuses");
    return NULL;
  }
  struct Delegate *delegate = calloc(1, sizeof *delegate);
  delegate->Prepare = take_nothing;
  if (strcmp(mode, "fail_prepare") == 0) delegate->Prepare = fail_to_prepare;
  if (strcmp(mode, "take") == 0) delegate->data = invoke_nothing;
  if (strcmp(mode, "fail_invoke") == 0) delegate->data = invoke_and_fail;
  if (strcmp(mode, "crash") == 0) delegate->data = invoke_and_crash;
  if (delegate->data) delegate->Prepare = take_all;
  return delegate;
}

void tflite_plugin_destroy_delegate(struct Delegate *delegate) { free(delegate); }
