//! Counts what each thread takes from the heap, for tests and benchmarks of paths that must take nothing. Whoever includes
//! this runs on it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static SO_FAR: Cell<Heap> = const { Cell::new(Heap { allocations: 0, bytes: 0 }) };
}

/// What a thread has taken so far. C code is not counted: libopus takes memory when encoders and decoders are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heap {
    /// How often.
    pub(crate) allocations: u64,
    /// Bytes not given back; below zero where others' were.
    pub(crate) bytes: i64,
}

/// Of this thread.
pub(crate) fn so_far() -> Heap {
    SO_FAR.get()
}

fn count(allocations: u64, bytes: i64) {
    let heap = SO_FAR.get();
    SO_FAR.set(Heap { allocations: heap.allocations + allocations, bytes: heap.bytes + bytes });
}

// SAFETY: every call goes to the system's allocator unchanged; the counters hold no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
