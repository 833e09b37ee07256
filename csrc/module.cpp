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
#include <tuple>

#include "bpe_encode.hpp"
#include "bpe_train.hpp"
#include "pretokenize.hpp"
#include "special_tokens.hpp"
#include "unicode.hpp"
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
nb::object to_numpy(IdBuffer<Id> ids) {
  const std::size_t size = ids.size();
  Id* data = ids.release();
  const nb::capsule owner(data, [](void* p) noexcept { std::free(p); });
  return nb::cast(nb::ndarray<nb::numpy, Id, nb::ndim<1>>(data, {size}, owner));
}

// Every id as a Python int, made once: lists of ids then only count references.
class PythonInts {
 public:
  nb::object list_of(const IdBuffer<std::uint32_t>& ids, std::size_t vocabulary_size) {
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
    const IdBuffer<std::uint32_t> ids = encode<std::uint32_t>(text, special);
    return ints_.list_of(ids, vocabulary_.size());
  }

  // Of a copy: nobody can change it between the check and the use.
  template <class Id>
  nb::bytes decode_array(const Ids<Id>& ids) const {
    return decode({ids.data(), ids.data() + ids.size()});
  }

  nb::bytes decode_list(const nb::list& list) const {
    std::vector<std::uint32_t> ids;
    ids.reserve(list.size());
    for (const nb::handle id : list) {
      const long value = PyLong_CheckExact(id.ptr()) ? PyLong_AsLong(id.ptr()) : -1;
      if (value < 0 || static_cast<std::size_t>(value) >= vocabulary_.size()) {
        PyErr_Clear();  // of a number that is no long
        throw std::out_of_range("not an id of the vocabulary");
      }
      ids.push_back(static_cast<std::uint32_t>(value));
    }
    return decode(ids);
  }

 private:
  nb::bytes decode(const std::vector<std::uint32_t>& ids) const {
    std::size_t size = 0;
    {
      const nb::gil_scoped_release unlocked;
      for (const std::uint32_t id : ids) {
        if (id >= vocabulary_.size()) throw std::out_of_range("not an id of the vocabulary");
        size += vocabulary_.length(id);
      }
    }
    // Written into the Python object itself, which nobody else knows of yet.
    nb::bytes text =
        nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (!text.is_valid()) throw nb::python_error();
    const nb::gil_scoped_release unlocked;
    vocabulary_.decode(ids, std::span(PyBytes_AS_STRING(text.ptr()), size));
    return text;
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
  IdBuffer<Id> encode(nb::handle object, const SpecialTokens& special) {
    const std::string_view text = utf8(object);
    IdBuffer<Id> ids;
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
      .def("decode", &Bpe::decode_array<std::uint16_t>)
      .def("decode", &Bpe::decode_array<std::uint32_t>)
      .def("decode", &Bpe::decode_list);
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
