// Finds special tokens, such as <|endoftext|>, in text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onward {

class SpecialTokens {
 public:
  struct Found {
    std::size_t position;
    std::size_t length;
    std::uint32_t id;
  };

  // Texts that are not empty, with their ids.
  explicit SpecialTokens(std::vector<std::pair<std::string, std::uint32_t>> tokens);

  // The leftmost from `from` on; of those that begin at the same place, the longest.
  std::optional<Found> find(std::string_view text, std::size_t from = 0) const;

 private:
  std::optional<Found> find_at(std::string_view text, std::size_t position) const;

  std::vector<std::pair<std::string, std::uint32_t>> tokens_;  // longest first
  std::array<bool, 256> begins_one_{};
  bool one_first_byte_ = false;
};

}  // namespace onward
