// What Python sees of the core: the only file that knows Python. Work is done without the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <span>
#include <tuple>
#include <type_traits>

#include "bpe_encode.hpp"
#include "bpe_train.hpp"
#include "pretokenize.hpp"
#include "special_tokens.hpp"
#include "unicode.hpp"
#include "utf8.hpp"
#include "word_counts.hpp"

namespace nb = nanobind;

namespace onward {
namespace {

// The UTF-8 of a str, or bytes as they are; the object must outlive the view.
std::string_view utf8(nb::handle text) {
  if (PyByteArray_Check(text.ptr())) {
    return {PyByteArray_AS_STRING(text.ptr()),
            static_cast<std::size_t>(PyByteArray_GET_SIZE(text.ptr()))};
  }
  if (PyBytes_Check(text.ptr())) {
    return {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
  }
  Py_ssize_t size;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw nb::python_error();  // not a str, or half a surrogate pair in it
  return {data, static_cast<std::size_t>(size)};
}

SplitPattern split_pattern(std::string_view name) {
  const auto found = std::find(kSplitPatternNames.begin(), kSplitPatternNames.end(), name);
  if (found == kSplitPatternNames.end()) throw std::invalid_argument("no such split pattern");
  return static_cast<SplitPattern>(found - kSplitPatternNames.begin());
}

template <class Id>
nb::object to_numpy(Buffer<Id> ids) {
  const std::size_t size = ids.size();
  Id* data = ids.release();
  const nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  return nb::cast(nb::ndarray<nb::numpy, Id, nb::ndim<1>>(data, {size}, owner));
}

// Every id as a Python int, made once: lists of ids then only count references.
class PythonInts {
 public:
  nb::object list_of(const Buffer<std::uint32_t>& ids, std::size_t vocabulary_size) {
    for (std::size_t id = ints_.size(); id < vocabulary_size; ++id) ints_.push_back(nb::int_(id));
    nb::object list = nb::steal(PyList_New(static_cast<Py_ssize_t>(ids.size())));
    if (!list.is_valid()) throw nb::python_error();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      nb::object id = ints_[ids.data()[i]];
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), id.release().ptr());
    }
    return list;
  }

 private:
  std::vector<nb::int_> ints_;
};

// An int as it lies in memory, since PyLong_AsLong takes longer than all else that decoding does;
// for what cannot be an id, one that is none.
std::uint32_t small_int(nb::handle object) {
  if (!PyLong_CheckExact(object.ptr())) return kNoToken;
  const auto* number = reinterpret_cast<const PyLongObject*>(object.ptr());
#if PY_VERSION_HEX >= 0x030C0000
  if (!PyUnstable_Long_IsCompact(number)) return kNoToken;
  const Py_ssize_t value = PyUnstable_Long_CompactValue(number);
  return value < 0 ? kNoToken : static_cast<std::uint32_t>(value);
#else
  const Py_ssize_t digits = Py_SIZE(number);
  return digits == 0 ? 0 : digits == 1 ? number->ob_digit[0] : kNoToken;
#endif
}

// Python's own decoder takes three times as long where not all is ASCII.
nb::object to_str(std::string_view text, const char* errors) {
  const auto [characters, largest_byte] = utf8_extent(text);
  const Py_UCS4 largest = largest_byte < 0x80   ? 0x7F
                          : largest_byte < 0xC4 ? 0xFF
                          : largest_byte < 0xF0 ? 0xFFFF
                                                : 0x10FFFF;
  nb::object str = nb::steal(PyUnicode_New(static_cast<Py_ssize_t>(characters), largest));
  if (!str.is_valid()) throw nb::python_error();
  const int kind = PyUnicode_KIND(str.ptr());
  void* const out = PyUnicode_DATA(str.ptr());
  bool valid;
  {
    const nb::gil_scoped_release unlocked;
    prefer_large_pages(out, characters * static_cast<std::size_t>(kind));
    if (kind == PyUnicode_1BYTE_KIND) {
      valid = read_utf8(text, std::span(static_cast<std::uint8_t*>(out), characters));
    } else if (kind == PyUnicode_2BYTE_KIND) {
      valid = read_utf8(text, std::span(static_cast<std::uint16_t*>(out), characters));
    } else {
      valid = read_utf8(text, std::span(static_cast<std::uint32_t*>(out), characters));
    }
  }
  if (valid) return str;
  str = nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), errors));
  if (!str.is_valid()) throw nb::python_error();
  return str;
}

std::vector<std::string> strings(const std::vector<nb::bytes>& tokens) {
  std::vector<std::string> result;
  for (const nb::bytes& token : tokens) result.emplace_back(token.c_str(), token.size());
  return result;
}

using MergeRow = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;

std::vector<MergeRow> rows_of(const std::vector<Merge>& merges) {
  std::vector<MergeRow> rows;
  for (const auto& [left, right, id] : merges) rows.emplace_back(left, right, id);
  return rows;
}

// A tokenizer's vocabulary with encoders for as many threads as use it at once.
class Bpe {
 public:
  template <class Id>
  using Ids = nb::ndarray<const Id, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
  using Merges = nb::ndarray<const std::uint32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;

  Bpe(std::string_view pattern, const std::vector<nb::bytes>& tokens,
      const std::array<std::uint32_t, 256>& id_of_byte, const Merges& merges,
      const std::vector<std::uint32_t>& whole_words)
      : pattern_(split_pattern(pattern)),
        vocabulary_(strings(tokens), id_of_byte, rows(merges), whole_words) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }

  nb::object encode_array(nb::handle text, const SpecialTokens& special) {
    if (vocabulary_.size() <= 1 << 8) return to_numpy(encode<std::uint8_t>(text, special));
    if (vocabulary_.size() <= 1 << 16) return to_numpy(encode<std::uint16_t>(text, special));
    return to_numpy(encode<std::uint32_t>(text, special));
  }

  nb::object encode_list(nb::handle text, const SpecialTokens& special) {
    const Buffer<std::uint32_t> ids = encode<std::uint32_t>(text, special);
    return ints_.list_of(ids, vocabulary_.size());
  }

  nb::bytes decode(const nb::object& ids) const {
    return with_ids(ids, [this](auto span) { return bytes_of(span); });
  }
  nb::object decode_text(const nb::object& ids, const char* errors) const {
    return with_ids(ids, [this, errors](auto span) { return text_of(span, errors); });
  }

 private:
  // Calls with the ids as they lie in an array, or as they are read from a list.
  template <class Use>
  static std::invoke_result_t<Use, std::span<const std::uint16_t>> with_ids(const nb::object& ids,
                                                                            Use&& use) {
    Ids<std::uint16_t> narrow;
    if (nb::try_cast(ids, narrow, false)) return use(std::span(narrow.data(), narrow.size()));
    Ids<std::uint32_t> wide;
    if (nb::try_cast(ids, wide, false)) return use(std::span(wide.data(), wide.size()));
    const Buffer<std::uint32_t> read = read_list(nb::cast<nb::list>(ids));
    return use(std::span(read.data(), read.size()));
  }

  static Buffer<std::uint32_t> read_list(const nb::list& list) {
    Buffer<std::uint32_t> ids;
    std::uint32_t* to = ids.room_for(list.size());
    for (const nb::handle id : list) *to++ = small_int(id);
    ids.commit(list.size());
    return ids;
  }

  template <class Id>
  nb::bytes bytes_of(std::span<const Id> ids) const {
    const std::size_t size = vocabulary_.decoded_size(ids);
    // Written into the Python object itself, which nobody else knows of yet.
    nb::bytes text =
        nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (!text.is_valid()) throw nb::python_error();
    const nb::gil_scoped_release unlocked;
    prefer_large_pages(PyBytes_AS_STRING(text.ptr()), size);
    vocabulary_.decode(ids, std::span(PyBytes_AS_STRING(text.ptr()), size));
    return text;
  }

  template <class Id>
  nb::object text_of(std::span<const Id> ids, const char* errors) const {
    Buffer<char> text;
    {
      const nb::gil_scoped_release unlocked;
      const std::size_t size = vocabulary_.decoded_size(ids);
      vocabulary_.decode(ids, std::span(text.room_for(size), size));
      text.commit(size);
    }
    return to_str({text.data(), text.size()}, errors);
  }

  static std::vector<Merge> rows(const Merges& merges) {
    std::vector<Merge> result;
    for (std::size_t i = 0; i < merges.shape(0); ++i) {
      const std::uint32_t* row = merges.data() + 3 * i;
      result.push_back({row[0], row[1], row[2]});
    }
    return result;
  }

  template <class Id>
  Buffer<Id> encode(nb::handle object, const SpecialTokens& special) {
    const std::string_view text = utf8(object);
    Buffer<Id> ids;
    const nb::gil_scoped_release unlocked;
    std::unique_ptr<Encoder> encoder = borrow_encoder();
    std::size_t begin = 0;
    while (const auto found = special.find(text, begin)) {
      encoder->encode(text.substr(begin, found->position - begin), ids);
      ids.push_back(static_cast<Id>(found->id));
      begin = found->position + found->length;
    }
    encoder->encode(text.substr(begin), ids);
    give_back(std::move(encoder));
    return ids;
  }

  std::unique_ptr<Encoder> borrow_encoder() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Encoder>(vocabulary_, pattern_);
    std::unique_ptr<Encoder> encoder = std::move(idle_.back());
    idle_.pop_back();
    return encoder;
  }
  void give_back(std::unique_ptr<Encoder> encoder) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(encoder));
  }

  SplitPattern pattern_;
  Vocabulary vocabulary_;
  PythonInts ints_;  // guarded by the GIL
  std::mutex mutex_;
  std::vector<std::unique_ptr<Encoder>> idle_;
};

class Counter {
 public:
  Counter(std::string_view pattern, std::size_t max_words)
      : counts_(split_pattern(pattern), max_words) {}

  void count(const std::vector<nb::bytes>& texts) {
    std::vector<std::string_view> views;
    for (const nb::bytes& text : texts) views.push_back(utf8(text));
    const nb::gil_scoped_release unlocked;
    for (const std::string_view text : views) counts_.count(text);
  }
  void add(const Counter& others) {
    const nb::gil_scoped_release unlocked;
    counts_.add(others.counts_);
  }
  std::size_t size() const { return counts_.size(); }
  std::pair<std::uint64_t, std::uint64_t> dropped() const {
    return {counts_.dropped_words(), counts_.dropped_bytes()};
  }

  std::vector<MergeRow> train(const Bpe& base, std::uint32_t token_limit,
                              std::uint64_t min_frequency, std::uint32_t max_token_length,
                              const std::vector<nb::bytes>& taken,
                              const std::optional<nb::callable>& watch) const {
    const TrainingLimits limits{token_limit, min_frequency, max_token_length, strings(taken)};
    std::vector<Merge> merges;
    {
      const nb::gil_scoped_release unlocked;
      merges = train_bpe(counts_, base.vocabulary(), limits, [&](std::size_t tokens) {
        const nb::gil_scoped_acquire locked;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();  // Ctrl-C
        if (watch) (*watch)(tokens);
      });
    }
    return rows_of(merges);
  }

 private:
  WordCounts counts_;
};

std::vector<std::size_t> split_ends(std::string_view pattern, nb::handle text) {
  Pretokenizer words(split_pattern(pattern), utf8(text));
  std::vector<std::size_t> all;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    all.insert(all.end(), ends.begin(), ends.end());
  }
  return all;
}

nb::bytes char_classes() {
  std::string classes;
  for (std::uint32_t c = 0; c < kCodePoints; ++c) classes += static_cast<char>(kCharTable[c]);
  return nb::bytes(classes.data(), classes.size());
}

std::optional<std::tuple<std::size_t, std::uint32_t>> find_special(const SpecialTokens& special,
                                                                   nb::handle text) {
  const auto found = special.find(utf8(text));
  if (!found) return std::nullopt;
  return std::tuple(found->position, found->id);
}

NB_MODULE(_core, m) {
  // What still lives when the interpreter ends is no leak.
  nb::set_leak_warnings(false);
  nb::class_<SpecialTokens>(m, "SpecialTokens")
      .def(nb::init<std::vector<std::pair<std::string, std::uint32_t>>>())
      .def("find", &find_special);
  nb::class_<Bpe>(m, "Bpe")
      .def(nb::init<std::string_view, const std::vector<nb::bytes>&,
                    const std::array<std::uint32_t, 256>&, const Bpe::Merges&,
                    const std::vector<std::uint32_t>&>())
      .def("encode", &Bpe::encode_list)
      .def("encode_array", &Bpe::encode_array)
      .def("decode", &Bpe::decode)
      .def("decode_text", &Bpe::decode_text);
  nb::class_<Counter>(m, "WordCounts")
      .def(nb::init<std::string_view, std::size_t>(), nb::arg(),
           nb::arg("max_words") = WordCounts::kAnyNumber)
      .def("count", &Counter::count)
      .def("add", &Counter::add)
      .def("dropped", &Counter::dropped)
      .def("train", &Counter::train, nb::arg(), nb::arg(), nb::arg("min_frequency") = 1,
           nb::arg("max_token_length") = ~0u, nb::arg("taken") = std::vector<nb::bytes>(),
           nb::arg("watch") = nb::none())
      .def("__len__", &Counter::size);
  m.def("merges_of_ranks", [](const std::vector<nb::bytes>& tokens) {
    return rows_of(merges_of_ranks(strings(tokens)));
  });
  m.def("split_ends", &split_ends);
  m.def("safe_cut", [](std::string_view pattern, nb::handle text, std::size_t from) {
    return safe_cut(split_pattern(pattern), utf8(text), from);
  });
  m.def("find_invalid_utf8", [](nb::bytes text) { return find_invalid_utf8(utf8(text)); });
  m.def("split_patterns",
        [] { return std::vector(kSplitPatternNames.begin(), kSplitPatternNames.end()); });
  m.def("char_classes", &char_classes);
  m.def("base_bytes", [] {
    std::string bytes;
    for (std::uint32_t id = 0; id < 256; ++id) bytes += static_cast<char>(byte_of_base_id(id));
    return nb::bytes(bytes.data(), bytes.size());
  });
}

}  // namespace
}  // namespace onward
