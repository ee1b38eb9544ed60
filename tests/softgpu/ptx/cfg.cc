#include "tests/softgpu/ptx/cfg.h"

#include <algorithm>

namespace octet::softgpu {
namespace {

// Bourdoncle's algorithm with explicit recursion over nodes; components are emitted in reverse.
class Ordering {
 public:
  explicit Ordering(const std::vector<std::vector<u32>>& successors)
      : successors_(successors), number_(successors.size(), 0) {}

  std::vector<u32> run() {
    std::vector<u32> reversed;
    visit(0, reversed);
    std::ranges::reverse(reversed);
    return reversed;
  }

 private:
  static constexpr u32 kDone = ~u32{0};

  u32 visit(u32 node, std::vector<u32>& reversed) {
    stack_.push_back(node);
    u32 head = number_[node] = ++counter_;
    bool loop = false;
    for (const u32 next : successors_[node]) {
      const u32 lowest = number_[next] == 0 ? visit(next, reversed) : number_[next];
      if (lowest <= head) {
        head = lowest;
        loop = true;
      }
    }
    if (head == number_[node]) {
      number_[node] = kDone;
      u32 top = stack_.back();
      stack_.pop_back();
      if (loop) {
        while (top != node) {  // revisit the loop without its head
          number_[top] = 0;
          top = stack_.back();
          stack_.pop_back();
        }
        component(node, reversed);
      } else {
        reversed.push_back(node);
      }
    }
    return head;
  }

  void component(u32 node, std::vector<u32>& reversed) {
    std::vector<u32> inner;
    for (const u32 next : successors_[node])
      if (number_[next] == 0) visit(next, inner);
    reversed.insert(reversed.end(), inner.begin(), inner.end());
    reversed.push_back(node);
  }

  const std::vector<std::vector<u32>>& successors_;
  std::vector<u32> number_;
  std::vector<u32> stack_;
  u32 counter_ = 0;
};

}  // namespace

std::vector<u32> weak_topological_order(const std::vector<std::vector<u32>>& successors) {
  return Ordering(successors).run();
}

}  // namespace octet::softgpu
