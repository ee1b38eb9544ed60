// Atomics: PTX ISA 9.7.13 (atom, red).

#include <algorithm>
#include <atomic>

#include "tests/softgpu/exec/addresses.h"

namespace octet::softgpu {
namespace {

template <unsigned Bytes>
using UnsignedOf = std::conditional_t<Bytes == 2, u16, std::conditional_t<Bytes == 4, u32, u64>>;

// ops: address, d, b, c. Lanes take their turns in order.
template <class F, class T>
struct AtomicHandler {
  static void run(Warp& w, const Instr& in) {
    using Word = UnsignedOf<sizeof(T)>;
    u64 address[kLanes];
    std::byte* pointer[kLanes];
    lane_addresses(w, in, address);
    w.resolve(in, Space(in.mode[0]), address, sizeof(T), Access::kAtomic, pointer);
    T* d = w.reg<T>(in.ops[1]);
    const T *operand = w.reg<T>(in.ops[2]), *second = w.reg<T>(in.ops[3]);
    for_active(w.active, [&](unsigned l) {
      std::atomic_ref<Word> word(*reinterpret_cast<Word*>(pointer[l]));
      Word old = word.load();
      while (!word.compare_exchange_weak(old, std::bit_cast<Word>(F{}(std::bit_cast<T>(old), operand[l], second[l])))) {
      }
      d[l] = std::bit_cast<T>(old);
    });
  }
};

template <class T, class F>
Execute atomically(F) {
  return &AtomicHandler<F, T>::run;
}

template <class T>
T sum(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return T(u64(a) + u64(b));
  else if constexpr (is_narrow_float<T>)
    return T(float(a) + float(b));
  else
    return a + b;
}
template <class T>
Pair<T> sum(Pair<T> a, Pair<T> b) {
  return {sum(a.lo, b.lo), sum(a.hi, b.hi)};
}

template <class F>
Execute atomic_integer(Builder& b, Type type, F f) {
  switch (type) {
    case Type::kB16:
      return f(u16{});
    case Type::kB32:
    case Type::kU32:
      return f(u32{});
    case Type::kS32:
      return f(s32{});
    case Type::kB64:
    case Type::kU64:
      return f(u64{});
    case Type::kS64:
      return f(s64{});
    default:
      b.unsupported("type");
  }
}

Execute select_atomic_operation(Builder& b, std::string_view op, Type type) {
  if (op == "add") {
    switch (type) {
      case Type::kF16:
        return atomically<Half>([](Half x, Half y, Half) { return sum(x, y); });
      case Type::kBF16:
        return atomically<BFloat>([](BFloat x, BFloat y, BFloat) { return sum(x, y); });
      case Type::kF16x2:
        return atomically<Pair<Half>>([](Pair<Half> x, Pair<Half> y, Pair<Half>) { return sum(x, y); });
      case Type::kBF16x2:
        return atomically<Pair<BFloat>>([](Pair<BFloat> x, Pair<BFloat> y, Pair<BFloat>) { return sum(x, y); });
      case Type::kF32:
        return atomically<float>([](float x, float y, float) { return x + y; });
      case Type::kF64:
        return atomically<double>([](double x, double y, double) { return x + y; });
      default:
        break;
    }
  }
  return atomic_integer(b, type, [&]<class T>(T) -> Execute {
    if (op == "add") return atomically<T>([](T x, T y, T) { return sum(x, y); });
    if (op == "min") return atomically<T>([](T x, T y, T) { return std::min(x, y); });
    if (op == "max") return atomically<T>([](T x, T y, T) { return std::max(x, y); });
    if (op == "and") return atomically<T>([](T x, T y, T) { return T(x & y); });
    if (op == "or") return atomically<T>([](T x, T y, T) { return T(x | y); });
    if (op == "xor") return atomically<T>([](T x, T y, T) { return T(x ^ y); });
    if (op == "exch") return atomically<T>([](T, T y, T) { return y; });
    if (op == "cas") return atomically<T>([](T x, T y, T z) { return x == y ? z : x; });
    if (op == "inc") return atomically<T>([](T x, T y, T) { return x >= y ? T(0) : T(x + 1); });
    return atomically<T>([](T x, T y, T) { return x == 0 || x > y ? y : T(x - 1); });
  });
}

}  // namespace

Execute select_atomic(Builder& b) {
  const bool returns = b.opcode() == "atom";
  const Space space = take_space(b);
  ignore_hints(b);
  b.flag("noftz");
  const std::string_view op = b.choice({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
  if (op.empty()) b.unsupported("operation");
  const Type type = b.type();
  std::size_t next = returns ? 1 : 0;
  take_address(b, space, b.operand(next++));
  const Operand sink{.kind = Operand::Kind::kSink};
  b.result(returns ? b.operand(0) : sink, size_of(type));
  const Operand& first = b.operand(next++);
  b.source(first, type);
  b.source(op == "cas" ? b.operand(next) : first, type);
  return select_atomic_operation(b, op, type);
}

}  // namespace octet::softgpu
