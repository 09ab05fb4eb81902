// How fast a browser comes into a meeting in which someone already speaks and shows a picture: from start() to
// audioVideoDidStart, to the first remote sound and to the first remote frame. `cargo xtask bench join` runs it.
//   node test/bench-join.mjs [--runs N] [--json]
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { DEADLINE_MS, Gathering, setUp, shared, tearDown } from './harness.mjs';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '20' }, json: { type: 'boolean', default: false } } });
const runs = Number(values.runs);

/** What a Gathering wants of a test, outside one. */
const endings = [];
const bench = { diagnostic() {}, after: ending => endings.push(ending) };

const WHAT = {
  started: 'start() to audioVideoDidStart',
  sound: 'start() to first remote sound',
  picture: 'start() to first remote frame',
};

await setUp();
try {
  const meeting = new Gathering(bench);
  const host = await meeting.join('host', { tone: 440 });
  await host.ask(face => lab.cameraOn(face), { colour: '#20a020' });
  await host.until('own picture', id => lab.see(id)?.frames > 30, host.id);
  const samples = { started: [], sound: [], picture: [] };
  for (let run = 0; run < runs; run++) {
    const guest = await meeting.invite(`guest ${run}`);
    await guest.ask(invitation => {
      lab.join(invitation, { muted: true });
      // Sound counts from the moment when a tone is heard, not when packets of silence come. Looked at every 5 ms.
      window.firstSound = new Promise(resolve => {
        const timer = setInterval(() => {
          if ((lab.hearNow(440) ?? -160) < -60) return;
          clearInterval(timer);
          resolve(performance.now());
        }, 5);
      });
    }, guest.invitation);
    await guest.until('a frame', () => lab.event('firstFrame'), undefined, DEADLINE_MS);
    const times = await guest.ask(async () => {
      const began = lab.event('start').at;
      return {
        started: lab.event('started').at - began,
        sound: (await window.firstSound) - began,
        picture: lab.event('firstFrame').at - began,
      };
    });
    for (const [what, ms] of Object.entries(times)) samples[what].push(ms);
    await guest.ask(() => lab.av.stop());
    await guest.until('the end', () => lab.event('stopped'));
    await guest.context.close();
    meeting.people.splice(meeting.people.indexOf(guest), 1);
  }
  const at = (sorted, share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  const table = Object.entries(samples).map(([what, list]) => {
    const sorted = list.sort((a, b) => a - b);
    return { what: WHAT[what], runs, min_ms: at(sorted, 0), median_ms: at(sorted, 0.5), p90_ms: at(sorted, 0.9), max_ms: at(sorted, 1) };
  });
  if (values.json) {
    console.log(JSON.stringify({ cpus: cpus().length, cpu: cpus()[0].model, browser: shared.browser.version(), results: table }));
  } else {
    console.log(`| | runs | least | median | 90 % | most |\n|---|---|---|---|---|---|`);
    for (const row of table) console.log(`| ${row.what} | ${row.runs} | ${row.min_ms} ms | ${row.median_ms} ms | ${row.p90_ms} ms | ${row.max_ms} ms |`);
    console.log(`\nChromium ${shared.browser.version()}, ${cpus().length} cores of ${cpus()[0].model}; server, host and guest on the same machine.`);
  }
} finally {
  await Promise.all(endings.map(ending => ending()));
  await tearDown();
}
