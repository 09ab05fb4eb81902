//! What the system knows of a process and of a core (Linux), and processes that are pinned to one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use campanile::http::raise_open_files;

use crate::Failure;

/// The core of whichever server is measured.
const SERVER_CORE: usize = 0;
/// The core of this generator.
const GENERATOR_CORE: usize = 1;
/// As the product names its thread.
pub(crate) const MEDIA_WORKER: &str = "media-worker";
/// For a new thread to run for the first time.
const THREAD_START: Duration = Duration::from_secs(5);
/// Ticks in a second of `/proc/stat`: `USER_HZ`, 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program on the server's core; it is killed when this is dropped, and its standard input ends if we are.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn start(command: &Command) -> Result<Server, Failure> {
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", &SERVER_CORE.to_string()]).arg(command.get_program());
        pinned.args(command.get_args());
        let child = pinned.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child =
            child.map_err(|error| format!("{:?} cannot be started: {error}", command.get_program()))?;
        Ok(Server { child })
    }

    /// The first line that it prints; what comes after is read and forgotten.
    pub(crate) fn first_line(&mut self) -> Result<String, Failure> {
        let out = self.child.stdout.take().ok_or("it has told its first line already")?;
        let mut reader = BufReader::new(out);
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err("the server ended before it was ready".into());
        }
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(line)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `kill` by the child's own id: nobody else's process can be hit.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One thread of this process, by its name: on the server's core from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread(u32);

impl Thread {
    /// The ids of all threads of this name.
    pub(crate) fn ids(name: &str) -> Result<Vec<u32>, Failure> {
        let tasks = fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?;
        let named = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let ids = tasks.flatten().filter(|task| named(&task.path()));
        Ok(ids.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect())
    }

    /// The one that asks, on whichever core it is.
    pub(crate) fn this() -> Result<Thread, Failure> {
        let link = fs::read_link("/proc/thread-self").map_err(|error| error.to_string())?;
        let id = link.file_name().and_then(|name| name.to_str()?.parse().ok());
        id.map(Thread).ok_or_else(|| "the system does not tell".into())
    }

    /// The thread of this name that was not there `before`.
    pub(crate) fn pinned(name: &str, before: &[u32]) -> Result<Thread, Failure> {
        let begun = Instant::now();
        // A thread takes its name itself, once it runs.
        let id = loop {
            match Thread::ids(name)?.into_iter().find(|id| !before.contains(id)) {
                Some(id) => break id,
                None if begun.elapsed() > THREAD_START => return Err(format!("there is no thread {name}")),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        pin(&[], id, SERVER_CORE).map(|()| Thread(id))
    }

    /// Its CPU time, and how often it has gone to sleep.
    pub(crate) fn so_far(self) -> Result<(Duration, u64), Failure> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/self/task/{}/{file}", self.0))
                .map_err(|error| error.to_string())
        };
        let cpu = read("schedstat")?.split(' ').next().and_then(|nanos| nanos.parse().ok());
        let status = read("status")?;
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let sleeps = sleeps.and_then(|count| count.trim().parse().ok());
        Ok((Duration::from_nanos(cpu.ok_or("no schedstat")?), sleeps.ok_or("no count of sleeps")?))
    }
}

/// CPU time of the calling thread, as of the scheduler's last look at it: a few milliseconds ago at the most.
pub(crate) fn own_cpu() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").map_err(|error| error.to_string())?;
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).ok_or("no schedstat")?;
    Ok(Duration::from_nanos(nanos))
}

/// Memory of this process that is in use, in bytes.
pub(crate) fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    Ok(1024 * kilobytes.ok_or("the system does not tell")?)
}

/// Lets this process open so many sockets, and what else it needs: many systems begin with a thousand files.
pub(crate) fn open_files(sockets: usize) -> Result<(), Failure> {
    const BESIDE_SOCKETS: u64 = 100;
    let (allowed, wanted) = (raise_open_files(), sockets as u64 + BESIDE_SOCKETS);
    match allowed < wanted {
        true => Err(format!("only {allowed} files may be open and {wanted} are needed: raise `ulimit -Hn`")),
        false => Ok(()),
    }
}

/// Keeps this process off the server's core.
pub(crate) fn pin_generator() -> Result<(), Failure> {
    pin(&["--all-tasks"], std::process::id(), GENERATOR_CORE)
}

/// Puts a server that was started by others on its core.
pub(crate) fn pin_server(pid: u32) -> Result<(), Failure> {
    pin(&["--all-tasks"], pid, SERVER_CORE)
}

/// Puts a thread, or all of a process, on one core.
fn pin(options: &[&str], id: u32, core: usize) -> Result<(), Failure> {
    let pinned = Command::new("taskset")
        .args(options)
        .args(["--pid", "--cpu-list", &core.to_string(), &id.to_string()])
        .stdout(Stdio::null())
        .status();
    match pinned {
        Ok(status) if status.success() => Ok(()),
        _ => Err("two cores are needed: one for the server, one for the generator".into()),
    }
}

/// CPU time of a process and of everything on the server's core, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pid: u32,
    at: Instant,
    cpu: Duration,
    /// Ticks in user mode and in the kernel.
    modes: [u64; 2],
    core_busy: Duration,
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// CPU time of the process.
    pub(crate) cpu: Duration,
    /// Share of it that was spent in the kernel, 0 to 1, by what every tick of its clock found.
    pub(crate) kernel: f64,
    pub(crate) elapsed: Duration,
    /// Share of the core's time that went to others, 0 to 1.
    pub(crate) others: f64,
}

impl Meter {
    pub(crate) fn start(pid: u32) -> Result<Meter, Failure> {
        let cpu = cpu_time(pid).ok_or("the server is gone")?;
        let modes = modes(pid).ok_or("the server is gone")?;
        Ok(Meter { pid, at: Instant::now(), cpu, modes, core_busy: core_busy().unwrap_or_default() })
    }

    pub(crate) fn stop(self) -> Result<Used, Failure> {
        let now = Meter::start(self.pid)?;
        let (cpu, elapsed) = (now.cpu.saturating_sub(self.cpu), now.at - self.at);
        let busy = now.core_busy.saturating_sub(self.core_busy);
        let others = busy.saturating_sub(cpu).as_secs_f64() / elapsed.as_secs_f64();
        let [user, kernel] = [0, 1].map(|mode| (now.modes[mode] - self.modes[mode]) as f64);
        Ok(Used { cpu, kernel: kernel / (user + kernel).max(1.0), elapsed, others })
    }
}

/// CPU time of all threads of a process that are still there, to the nanosecond (`/proc/stat` knows hundredths of a second).
fn cpu_time(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_task = |path: PathBuf| {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    let total: u64 = tasks.flatten().filter_map(|task| of_task(task.path())).sum();
    Some(Duration::from_nanos(total))
}

/// Ticks of a process in user mode and in the kernel.
fn modes(pid: u32) -> Option<[u64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; behind it `utime` and `stime` are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

/// Time that the server's core has not been idle.
fn core_busy() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{SERVER_CORE} ")))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in the first two.
    let busy = ticks.iter().take(8).sum::<u64>() - ticks.get(3)? - ticks.get(4)?;
    Some(Duration::from_secs_f64(busy as f64 / TICKS_PER_SECOND))
}

/// A folder of ours that goes away with us.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Folder, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!(
            "campanile-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
