#include "runtime/engine/page_allocator.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/base/check.h"

namespace octet {
namespace {

std::span<const TokenId> page_tokens(std::span<const TokenId> tokens, int64_t page) {
  return tokens.subspan(static_cast<size_t>(page * kPageTokens), static_cast<size_t>(kPageTokens));
}

int32_t parent_of(std::span<const int32_t> table, int64_t index) {
  return index == 0 ? kNoPage : table[static_cast<size_t>(index - 1)];
}

}  // namespace

PageAllocator::PageAllocator(int64_t num_pages, bool caches_prefixes)
    : free_pages_(static_cast<size_t>(num_pages)), num_references_(static_cast<size_t>(num_pages)) {
  // The stack's top is page 0.
  std::iota(free_pages_.rbegin(), free_pages_.rend(), 0);
  if (caches_prefixes) cache_.emplace(num_pages);
}

bool PageAllocator::extend(SequenceId sequence, int64_t num_tokens) {
  const int64_t num_missing = pages_for(num_tokens) - std::ssize(pages(sequence));
  if (num_missing <= 0) return true;
  if (num_missing > num_free()) return false;
  std::vector<int32_t>& table = tables_[sequence];
  for (int64_t i = 0; i < num_missing; ++i) {
    table.push_back(take_page());
  }
  return true;
}

int64_t PageAllocator::extend_if_free(SequenceId sequence, int64_t num_tokens) {
  std::vector<int32_t>& table = tables_.at(sequence);
  while (std::ssize(table) < pages_for(num_tokens) && !free_pages_.empty()) table.push_back(take_page());
  return std::min(num_tokens, std::ssize(table) * kPageTokens);
}

// The last pages first, so that the cache evicts them first, and free ones are taken again in the same order.
void PageAllocator::trim(SequenceId sequence, int64_t num_tokens) {
  const auto it = tables_.find(sequence);
  if (it == tables_.end()) return;
  for (std::vector<int32_t>& table = it->second; std::ssize(table) > pages_for(num_tokens); table.pop_back()) {
    drop(table.back());
  }
}

void PageAllocator::share(SequenceId from, SequenceId to, int64_t num_pages) {
  const std::span<const int32_t> source = pages(from);
  OCTET_CHECK(num_pages <= std::ssize(source), "{} of {} pages", num_pages, source.size());
  OCTET_CHECK(pages(to).empty(), "sequence {}.{} holds pages", to.request, to.sample);
  if (num_pages == 0) return;
  const auto shared = source.first(static_cast<size_t>(num_pages));
  for (const int32_t page : shared) ++num_references_[static_cast<size_t>(page)];
  tables_[to].assign(shared.begin(), shared.end());
}

void PageAllocator::release(SequenceId sequence) {
  trim(sequence, 0);
  tables_.erase(sequence);
}

PrefixHit PageAllocator::find_prefix(std::span<const TokenId> tokens, const CacheSalt& salt) const {
  PrefixHit hit;
  if (!cache_) return hit;
  for (int32_t page = kNoPage; (hit.num_pages + 1) * kPageTokens <= std::ssize(tokens); ++hit.num_pages) {
    page = cache_->find(page, page_tokens(tokens, hit.num_pages), salt);
    if (page == kNoPage) break;
    hit.num_idle += cache_->idle(page);
  }
  return hit;
}

int64_t PageAllocator::use_cached(SequenceId sequence, std::span<const TokenId> tokens, int64_t num_full,
                                  const CacheSalt& salt) {
  if (!cache_) return num_full;
  for (; (num_full + 1) * kPageTokens <= std::ssize(tokens); ++num_full) {
    const int32_t page = cache_->find(parent_of(pages(sequence), num_full), page_tokens(tokens, num_full), salt);
    if (page == kNoPage) break;
    put(tables_[sequence], num_full, page);
  }
  return num_full;
}

void PageAllocator::cache(SequenceId sequence, std::span<const TokenId> tokens, int64_t num_known,
                          const CacheSalt& salt) {
  if (!cache_ || (num_known + 1) * kPageTokens > std::ssize(tokens)) return;
  std::vector<int32_t>& table = tables_.at(sequence);
  for (int64_t i = num_known; (i + 1) * kPageTokens <= std::ssize(tokens); ++i) {
    const int32_t parent = parent_of(table, i);
    const int32_t known = cache_->find(parent, page_tokens(tokens, i), salt);
    if (known != kNoPage) {
      put(table, i, known);
    } else {
      cache_->insert(parent, page_tokens(tokens, i), table[static_cast<size_t>(i)], salt);
    }
  }
}

std::span<const int32_t> PageAllocator::pages(SequenceId sequence) const {
  const auto it = tables_.find(sequence);
  return it == tables_.end() ? std::span<const int32_t>() : std::span<const int32_t>(it->second);
}

int32_t PageAllocator::take_page() {
  int32_t page = kNoPage;
  if (free_pages_.empty()) {
    page = cache_->evict();
    ++num_evictions_;
  } else {
    page = free_pages_.back();
    free_pages_.pop_back();
  }
  num_references_[static_cast<size_t>(page)] = 1;
  return page;
}

void PageAllocator::drop(int32_t page) {
  if (--num_references_[static_cast<size_t>(page)] > 0) return;
  if (cache_ && cache_->contains(page)) {
    cache_->set_idle(page);
  } else {
    free_pages_.push_back(page);
  }
}

void PageAllocator::put(std::vector<int32_t>& table, int64_t index, int32_t page) {
  if (num_references_[static_cast<size_t>(page)]++ == 0) cache_->set_held(page);
  if (index == std::ssize(table)) {
    table.push_back(page);
  } else {
    drop(std::exchange(table[static_cast<size_t>(index)], page));
  }
}

void PageAllocator::check_invariant() const {
  std::vector<int32_t> counted(num_references_.size());
  for (const auto& [sequence, table] : tables_) {
    for (const int32_t page : table) ++counted[static_cast<size_t>(page)];
  }
  OCTET_CHECK(counted == num_references_, "tables and reference counts differ");
  for (const int32_t page : free_pages_) {
    OCTET_CHECK(counted[static_cast<size_t>(page)]++ == 0, "page {} is free twice or free and held", page);
  }
  for (size_t page = 0; page < counted.size(); ++page) {
    const bool idle = cache_ && cache_->idle(static_cast<int32_t>(page));
    OCTET_CHECK(counted[page] > 0 || idle, "page {} is lost", page);
    OCTET_CHECK(counted[page] == 0 || !idle, "page {} is idle, and held or free", page);
  }
  if (cache_) cache_->check_invariant();
}

}  // namespace octet
