#include "special_tokens.hpp"

#include <algorithm>
#include <cstring>

namespace onward {

SpecialTokens::SpecialTokens(std::vector<std::pair<std::string, std::uint32_t>> tokens)
    : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  for (const auto& token : tokens_) begins_one_[static_cast<std::uint8_t>(token.first[0])] = true;
  one_first_byte_ = std::count(begins_one_.begin(), begins_one_.end(), true) == 1;
}

std::optional<SpecialTokens::Found> SpecialTokens::find(std::string_view text,
                                                        std::size_t from) const {
  if (tokens_.empty()) return std::nullopt;
  for (std::size_t at = from; at < text.size(); ++at) {
    if (one_first_byte_) {  // nearly always "<": let the C library look for it
      at = text.find(tokens_[0].first[0], at);
      if (at == std::string_view::npos) return std::nullopt;
    } else if (!begins_one_[static_cast<std::uint8_t>(text[at])]) {
      continue;
    }
    if (const auto found = find_at(text, at)) return found;
  }
  return std::nullopt;
}

std::optional<SpecialTokens::Found> SpecialTokens::find_at(std::string_view text,
                                                           std::size_t position) const {
  const std::string_view rest = text.substr(position);
  for (const auto& [token, id] : tokens_) {
    if (rest.starts_with(token)) return Found{position, token.size(), id};
  }
  return std::nullopt;
}

}  // namespace onward
