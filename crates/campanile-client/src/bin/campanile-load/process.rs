//! What the system knows of a process (Linux only): CPU time, memory, and datagrams that found a full buffer.

use std::fs;

/// Ticks of CPU time in a second: `USER_HZ`, 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU time that the process has used so far; `None` when there is no such process.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Bytes of memory in use, and the most there ever were.
pub(crate) fn memory(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((bytes("VmRSS:")?, bytes("VmHWM:")?))
}

/// Datagrams that this process was too slow to take.
pub(crate) fn own_udp_drops() -> u64 {
    let mut inodes = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(entry.path())
            && let Some(inode) = target.to_str().and_then(|text| text.strip_prefix("socket:["))
        {
            inodes.push(inode.trim_end_matches(']').to_owned());
        }
    }
    inodes.sort();
    let drops = |table: &str| -> u64 {
        let table = fs::read_to_string(table).unwrap_or_default();
        let of_line = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let own = fields.get(9).is_some_and(|inode| inodes.binary_search(&(*inode).to_owned()).is_ok());
            fields.get(12).filter(|_| own)?.parse::<u64>().ok()
        };
        table.lines().filter_map(of_line).sum()
    };
    drops("/proc/net/udp") + drops("/proc/net/udp6")
}
