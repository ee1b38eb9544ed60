#include "runtime/engine/page_allocator.h"

#include <numeric>

#include "runtime/base/check.h"

namespace octet {

PageAllocator::PageAllocator(int64_t num_pages)
    : free_pages_(static_cast<size_t>(num_pages)), num_references_(static_cast<size_t>(num_pages)) {
  // The stack's top is page 0.
  std::iota(free_pages_.rbegin(), free_pages_.rend(), 0);
}

bool PageAllocator::extend(SequenceId sequence, int64_t num_tokens) {
  const int64_t num_missing = pages_for(num_tokens) - std::ssize(pages(sequence));
  if (num_missing <= 0) return true;
  if (num_missing > num_free()) return false;
  std::vector<int32_t>& table = tables_[sequence];
  for (int64_t i = 0; i < num_missing; ++i) {
    const int32_t page = free_pages_.back();
    free_pages_.pop_back();
    num_references_[static_cast<size_t>(page)] = 1;
    table.push_back(page);
  }
  return true;
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
  const auto it = tables_.find(sequence);
  if (it == tables_.end()) return;
  for (const int32_t page : it->second) {
    if (--num_references_[static_cast<size_t>(page)] == 0) free_pages_.push_back(page);
  }
  tables_.erase(it);
}

std::span<const int32_t> PageAllocator::pages(SequenceId sequence) const {
  const auto it = tables_.find(sequence);
  return it == tables_.end() ? std::span<const int32_t>() : std::span<const int32_t>(it->second);
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
  for (size_t page = 0; page < counted.size(); ++page) OCTET_CHECK(counted[page] > 0, "page {} is lost", page);
}

}  // namespace octet
