// Memory that is written once from its beginning to its end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace onward {

// Has Linux map large memory 2 MB at a time as it is first written: in pages of 4 KB that takes
// longer than to encode or decode what is written there. For memory that nobody shares.
inline void prefer_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) {
#if defined(__linux__)
  constexpr std::uintptr_t kPage = 1 << 21;
  const std::uintptr_t begin =
      (reinterpret_cast<std::uintptr_t>(memory) + kPage - 1) & ~(kPage - 1);
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(memory) + size) & ~(kPage - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// A growing array of numbers that can give its memory away.
template <class Item>
class Buffer {
 public:
  // Room for `count` more at the returned place; of these, commit() says how many were written.
  Item* room_for(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    return items_.get() + size_;
  }
  void commit(std::size_t count) { size_ += count; }
  void push_back(Item item) {
    *room_for(1) = item;
    commit(1);
  }
  std::size_t size() const { return size_; }
  const Item* data() const { return items_.get(); }
  // To be freed with std::free.
  Item* release() { return items_.release(); }

 private:
  struct Free {
    void operator()(Item* items) const { std::free(items); }
  };

  void grow(std::size_t count) {
    capacity_ = std::max(capacity_ + capacity_ / 2, size_ + count);
    // realloc moves large blocks by remapping their pages, without a copy.
    void* larger = std::realloc(items_.get(), capacity_ * sizeof(Item));
    if (larger == nullptr) throw std::bad_alloc();
    static_cast<void>(items_.release());
    items_.reset(static_cast<Item*>(larger));
    prefer_large_pages(items_.get() + size_, (capacity_ - size_) * sizeof(Item));
  }

  std::unique_ptr<Item, Free> items_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace onward
