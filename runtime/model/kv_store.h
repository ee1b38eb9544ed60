// KvStore: one rank's KV cache, all layers; a page id names the same slot in every layer.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace octet {

struct KvStoreShape {
  int64_t num_layers = 0;
  int64_t num_pages = 0;
  int64_t num_kv_heads = 0;  // on this rank
  int64_t head_dim = 0;
  DType dtype = DType::kF32;

  // Bytes of one page over all layers, keys and values.
  int64_t page_bytes() const { return 2 * num_layers * num_kv_heads * KvCacheView::block_bytes(dtype, head_dim); }
};

class KvStore {
 public:
  KvStore(Backend& backend, const KvStoreShape& shape);
  KvCacheView layer(int64_t layer) const;
  const KvStoreShape& shape() const { return shape_; }

 private:
  KvStoreShape shape_;
  Buffer pages_;
};

}  // namespace octet
