// The maps of the `unordered_dense` library, which no package registry carries, by Abseil's, which mediasoup itself used
// before it.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <iterator>

namespace ankerl::unordered_dense
{
template <typename T>
using hash = absl::Hash<T>;

/// Erasing by iterator tells what comes next, as it does there.
template <typename Table>
struct telling : Table
{
    using Table::Table;
    using Table::erase;

    typename Table::iterator erase(typename Table::iterator at)
    {
        auto next = std::next(at);
        Table::erase(at);
        return next;
    }
};

template <typename Key, typename Value, typename Hash = hash<Key>>
using map = telling<absl::flat_hash_map<Key, Value, Hash>>;

template <typename Key, typename Hash = hash<Key>>
using set = telling<absl::flat_hash_set<Key, Hash>>;
} // namespace ankerl::unordered_dense
