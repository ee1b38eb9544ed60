#include "runtime/model/kv_store.h"

namespace octet {

KvStore::KvStore(Backend& backend, const KvStoreShape& shape)
    : shape_(shape), pages_(backend.allocate(static_cast<size_t>(shape.num_pages * shape.page_bytes()))) {}

KvCacheView KvStore::layer(int64_t layer) const {
  KvCacheView view{nullptr, nullptr, shape_.dtype, shape_.num_pages, shape_.num_kv_heads, shape_.head_dim};
  const int64_t bytes = shape_.num_pages * view.page_bytes();  // keys or values of one layer
  view.keys = pages_.data() + 2 * layer * bytes;
  view.values = view.keys + bytes;
  return view;
}

}  // namespace octet
