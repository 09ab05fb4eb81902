#!/usr/bin/env python3
"""Mixed audio beside Debian's Janus AudioBridge: CPU per participant and tick, in alternating runs on one machine.

    cargo build --release -p campanile --examples
    apt-get install janus espeak-ng sox      # Debian 12; Janus 1.1.2
    python3 bench/audio_beside_janus.py [--pairs 3] [--seconds 60] [--warm 10] [--case NAME ...] [--ours-only]

Both servers get the same bare-RTP participants from the same generator: the server on core 0, the generator on core 1, CPU time
from /proc. A row counts only if at least 99.9 % of the packets due came back. Run it on a machine with nothing else to do; the
load average is printed, and a row measured on a busy machine says little.
"""
import argparse, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples"
HZ = os.sysconf("SC_CLK_TCK")
FIRST_PORT = 20_000
# name: meetings, people in each, talkers in each, voices mixed at once, most that we may take (times Janus, or cores)
CASES = {
    "25 all talking, all mixed": (1, 25, 25, 25, "ratio", 0.9),
    "50 all talking, all mixed": (1, 50, 50, 50, "ratio", 0.9),
    "60 with 3 talking": (1, 60, 3, 8, "ratio", 0.25),
    "250 with 3 talking": (1, 250, 3, 8, "cores", 0.12),
    "10 x 250 with 3 talking": (10, 250, 3, 8, "cores", 1.0),
    "1000 all silent": (1, 1000, 0, 8, None, None),
}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def start(command, **more):
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def speech(folder):
    """Half a minute of speech at 48 kHz, or `-` for the generator's own voice."""
    if not (shutil.which("espeak-ng") and shutil.which("sox")):
        return "-"
    text = ("The meeting was moved to Thursday afternoon because the architects wanted more time. "
            "She asked whether the figures for the second quarter were ready. Please read them aloud, slowly and clearly. ") * 3
    subprocess.run(["espeak-ng", "-v", "en", "-w", f"{folder}/s.wav", text], check=True)
    subprocess.run(["sox", f"{folder}/s.wav", "-r", "48000", "-c", "1", "-b", "16", "-e", "signed", "-L", "-t", "raw",
                    f"{folder}/s.raw"], check=True)
    return f"{folder}/s.raw"


class Ours:
    name = "campanile"

    def __init__(self, case, _folder):
        meetings, people, _, voices, *_ = case
        command = [EXAMPLES / "audio_bench_server", meetings, people, voices, FIRST_PORT]
        self.process = start(["taskset", "-c", "0", *map(str, command)], stdin=subprocess.PIPE)
        word, port = self.process.stdout.readline().split()
        assert word == "ready"
        self.ports = [port] * (meetings * people)
        self.pid = self.process.pid

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Janus:
    name = "janus"

    def __init__(self, case, folder):
        meetings, people, *_ = case
        configs = pathlib.Path(folder) / "janus"
        configs.mkdir(exist_ok=True)
        (configs / "janus.jcfg").write_text(
            'general: { configs_folder = "%s"; plugins_folder = "%s"; debug_level = 3; }\n'
            "media: { rtp_port_range = \"40000-60000\" }\n"
            'plugins: { disable = "libjanus_voicemail.so,libjanus_sip.so,libjanus_nosip.so,libjanus_streaming.so,'
            'libjanus_videocall.so,libjanus_videoroom.so,libjanus_recordplay.so,libjanus_textroom.so,libjanus_echotest.so" }\n'
            'transports: { disable = "libjanus_websockets.so,libjanus_rabbitmq.so,libjanus_mqtt.so,libjanus_nanomsg.so,'
            'libjanus_pfunix.so" }\n' % (configs, plugins()))
        (configs / "janus.transport.http.jcfg").write_text(
            'general: { http = true; port = 18088; ip = "127.0.0.1"; base_path = "/janus" }\n')
        (configs / "janus.plugin.audiobridge.jcfg").write_text('general: { local_ip = "127.0.0.1" }\n')
        self.log = open(pathlib.Path(folder) / "janus.log", "a")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", "janus", "-F", str(configs), "-C", str(configs / "janus.jcfg")],
            stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        self.base = "http://127.0.0.1:18088/janus"
        for _ in range(100):
            try:
                self.session = self.ask("", {"janus": "create"})["data"]["id"]
                break
            except OSError:
                time.sleep(0.1)
        self.handles, self.ports = [], []
        for meeting in range(meetings):
            room = 100 + meeting
            handle = self.attach()
            # Complexity 4 is its default; the same rate as ours.
            self.plugin(handle, {"request": "create", "room": room, "sampling_rate": 48000, "allow_rtp_participants": True,
                                 "default_bitrate": 32000, "audiolevel_event": False, "record": False})
            for person in range(people):
                own = FIRST_PORT + meeting * people + person
                handle = self.attach()
                self.plugin(handle, {"request": "join", "room": room, "bitrate": 32000, "expected_loss": 0, "audio_level_average": 127,
                                     "rtp": {"ip": "127.0.0.1", "port": own, "payload_type": 111, "audiolevel_ext": 1,
                                             "fec": False}}, wait="joined")

    def ask(self, path, body):
        body = {**body, "transaction": "t"}
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=10))

    def attach(self):
        return self.ask(f"/{self.session}", {"janus": "attach", "plugin": "janus.plugin.audiobridge"})["data"]["id"]

    def plugin(self, handle, body, wait=None):
        answer = self.ask(f"/{self.session}/{handle}", {"janus": "message", "body": body})
        while wait:
            event = json.load(urllib.request.urlopen(f"{self.base}/{self.session}?maxev=1", timeout=10))
            data = event.get("plugindata", {}).get("data", {})
            if data.get("audiobridge") == "event" and "error" in data:
                raise RuntimeError(data["error"])
            if data.get("audiobridge") == wait and event.get("sender") == handle:
                self.ports.append(str(data["rtp"]["port"]))
                return
        return answer

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def plugins():
    for folder in ("/usr/lib/x86_64-linux-gnu/janus/plugins", "/usr/lib/aarch64-linux-gnu/janus/plugins"):
        if os.path.isdir(folder):
            return folder
    sys.exit("Janus' plugins are not where Debian puts them.")


def measure(kind, case, folder, voice, warm, seconds):
    """CPU microseconds per participant and tick, share of a core, share delivered."""
    meetings, people, talkers, *_ = case
    server = kind(case, folder)
    try:
        command = [EXAMPLES / "audio_bench_load", voice, FIRST_PORT, talkers, people, warm, seconds, *server.ports]
        load = start(["taskset", "-c", "1", *map(str, command)])
        keep = getattr(server, "session", None)
        assert load.stdout.readline().strip() == "begin"
        before, at = cpu_seconds(server.pid), time.monotonic()
        while keep and time.monotonic() - at < seconds - 25:
            time.sleep(20)
            server.ask(f"/{keep}", {"janus": "keepalive"})
        assert load.stdout.readline().strip() == "end"
        used, took = cpu_seconds(server.pid) - before, time.monotonic() - at
        _, sent, _, received = load.stdout.readline().split()
        load.wait(10)
    finally:
        server.stop()
    ticks = took * 50
    return 1e6 * used / (meetings * people * ticks), used / took, int(received) / int(sent)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--warm", type=int, default=10)
    arguments.add_argument("--case", nargs="*", choices=list(CASES), default=None)
    arguments.add_argument("--ours-only", action="store_true")
    options = arguments.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}; {options.pairs} pairs of {options.seconds} s after {options.warm} s")
    print("ours: CELT, complexity 5, 32 kbit/s; Janus: its defaults (complexity 4), 32 kbit/s")
    with tempfile.TemporaryDirectory() as folder:
        voice = speech(folder)
        for name in options.case or CASES:
            case = CASES[name]
            beside = not options.ours_only and case[4] != "cores" and case[0] * case[1] <= 100
            rows = {Ours: [], Janus: []}
            for _ in range(options.pairs):
                for kind in (Ours, Janus) if beside else (Ours,):
                    rows[kind].append(measure(kind, case, folder, voice, options.warm, options.seconds))
            for kind, measured in rows.items():
                for us, cores, delivered in measured:
                    verdict = "" if delivered >= 0.999 else "  DOES NOT COUNT"
                    print(f"{name:28} {kind.name:10} {us:8.2f} us/person/tick {100 * cores:7.2f} % of a core "
                          f"{100 * delivered:7.2f} % delivered{verdict}", flush=True)
            if beside:
                ratios = [ours[0] / theirs[0] for ours, theirs in zip(rows[Ours], rows[Janus])]
                print(f"{name:28} ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), wanted {case[5]}")
            elif case[4] == "cores":
                worst = max(cores for _, cores, _ in rows[Ours])
                print(f"{name:28} {worst:.3f} cores, wanted {case[5]}")
    print(f"load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
